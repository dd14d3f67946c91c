"""A run's directory, which is the model: what is in it, how it is written and read back."""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lmkit
from lmkit.contracts import Encoder, LanguageModel, Tokenizer, Vocabulary
from lmkit.errors import ModelError, UsageError
from lmkit.options import Chosen, choose, nested, to_table
from lmkit.plugins import registry
from lmkit.specs import ModelSpec

FORMAT = 1
MANIFEST = "lmkit.json"
RECIPE = "recipe.toml"
METRICS = "metrics.jsonl"
TOKENIZER = "tokenizer"
JSON_LIMIT = 1 << 24
HASHED_LIMIT = 1 << 28
"""Larger files are compared by size alone: they are mapped, not read, when a model is loaded."""


@dataclass(frozen=True)
class LoadedRun:
    """A finished run in memory."""

    directory: Path
    model: LanguageModel | Encoder
    tokenizer: Tokenizer
    model_choice: Chosen
    tokenizer_choice: Chosen
    manifest: dict[str, Any]

    @property
    def normalized(self) -> bool:
        """Whether the model's scores are probabilities."""
        spec = self.model_choice.part().spec
        return not isinstance(spec, ModelSpec) or spec.normalized


def default_directory(model: Chosen) -> Path:
    """`runs/NAME`, counting up past what is there: `runs/gru`, `runs/gru-2` ..."""
    cell = getattr(model.options, "cell", None)
    name = (cell if isinstance(cell, Chosen) else model).name.rpartition(":")[2]
    number, path = 1, Path("runs") / name
    while path.exists():
        number += 1
        path = Path("runs") / f"{name}-{number}"
    return path


def check_free(directory: Path, *, overwrite: bool) -> None:
    """UsageError when a run must not be written here."""
    if not directory.exists() or (directory.is_dir() and not any(directory.iterdir())):
        return
    if not overwrite:
        raise UsageError(f"{directory} exists already: give --overwrite to replace it, or another --out")
    if not (directory / MANIFEST).exists() and not (directory / RECIPE).exists():
        raise UsageError(f"{directory} is not a run of lmkit, so it is not overwritten: give another --out")


def begin(directory: Path, *, overwrite: bool) -> None:
    """Make an empty directory for a run, in place of an older one when asked to."""
    check_free(directory, overwrite=overwrite)
    if directory.exists():
        shutil.rmtree(directory)
    directory.mkdir(parents=True)


def write_manifest(
    directory: Path,
    *,
    kind: str,
    model: Chosen,
    tokenizer: Chosen,
    vocabulary: Vocabulary,
    data: Mapping[str, str],
    training: Mapping[str, Any],
) -> None:
    """Write lmkit.json last of all: with it, the directory is a model. The write is atomic."""
    manifest = {
        "format": FORMAT,
        "lmkit": lmkit.__version__,
        "kind": kind,
        "model": to_table(model),
        "tokenizer": to_table(tokenizer),
        "distributions": {c.name: _origin(c) for top in (model, tokenizer) for c in nested(top)},
        "vocabulary": {
            "size": vocabulary.size,
            "eos_id": vocabulary.eos_id,
            "unk_id": vocabulary.unk_id,
            "fingerprint": vocabulary.fingerprint,
        },
        "data": dict(data),
        "training": dict(training),
        "files": {
            path.relative_to(directory).as_posix(): {"size": path.stat().st_size, "sha256": sha256(path)}
            for path in sorted(directory.rglob("*"))
            if path.is_file() and path.name not in (MANIFEST, METRICS) and not _is_hidden(path, directory)
        },
    }
    write_atomic(directory / MANIFEST, json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")


def load_run(directory: Path) -> LoadedRun:
    """The model in a run's directory.

    Raises ModelError when a file is missing, damaged or does not fit, PluginError when a plugin that the model
    names is not installed. Nothing but installed plugins is ever imported, and nothing is unpickled.
    """
    manifest = read_manifest(directory)
    where = str(directory / MANIFEST)
    chosen_model = _choice("model", manifest, where)
    chosen_tokenizer = _choice("tokenizer", manifest, where)
    vocabulary = _vocabulary(manifest, where)
    _check_files(directory, manifest)
    tokenizer: Tokenizer = chosen_tokenizer.load().load(directory / TOKENIZER, chosen_tokenizer.options)
    if tokenizer.vocabulary != vocabulary:
        raise ModelError(
            f"{directory / TOKENIZER}: not the tokenizer that the model was trained with "
            f"(vocabulary {tokenizer.vocabulary.fingerprint[:12]}, wanted {vocabulary.fingerprint[:12]}); restore it"
        )
    model = chosen_model.load().load(directory, chosen_model.options, vocabulary)
    return LoadedRun(directory, model, tokenizer, chosen_model, chosen_tokenizer, manifest)


def read_manifest(directory: Path) -> dict[str, Any]:
    """lmkit.json, checked as far as its form goes."""
    path = directory / MANIFEST
    if not directory.is_dir():
        hint = "" if directory.exists() else " (it does not exist)"
        raise ModelError(
            f"{directory} is not a run's directory{hint}: give what `lmkit train --out` was given"
        )
    if not path.exists():
        raise ModelError(
            f"{directory} has no {MANIFEST}: it is no run, or its training never finished; train it again"
        )
    manifest = read_json(path)
    if manifest.get("format") != FORMAT:
        raise ModelError(
            f"{path}: format {manifest.get('format')!r}, this lmkit {lmkit.__version__} reads {FORMAT}; "
            f"it was written by lmkit {manifest.get('lmkit')!r}: install a version that matches"
        )
    return manifest


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file that nobody vouches for; ModelError if it is none."""
    try:
        if path.stat().st_size > JSON_LIMIT:
            raise ModelError(f"{path}: over {JSON_LIMIT >> 20} MB, so it is not what it claims to be")
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ModelError(f"{path}: missing; restore it or train the model again") from None
    except (ValueError, RecursionError, OSError) as error:
        problem = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise ModelError(
            f"{path}: not sound JSON ({problem}); restore it or train the model again"
        ) from error
    if not isinstance(value, dict):
        raise ModelError(f"{path}: must hold a JSON object, not {type(value).__name__}")
    return value


def write_atomic(path: Path, text: str) -> None:
    """Write a file under another name, flush it to the disk, then rename it."""
    hidden = path.with_name(f".{path.name}.part")
    with hidden.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    hidden.replace(path)


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _choice(kind: str, manifest: dict[str, Any], where: str) -> Chosen:
    table = manifest.get(kind)
    if not isinstance(table, dict):
        raise ModelError(f"{where}: '{kind}' must be an object with a name and options")
    _check_installed(table, manifest, where)
    try:
        return choose(kind, table, f"{where}: {kind}")
    except UsageError as error:
        raise ModelError(str(error)) from error


def _check_installed(table: dict[str, Any], manifest: dict[str, Any], where: str) -> None:
    """PluginError, with the version to install, for every part that the table names and nobody has."""
    origins = manifest.get("distributions")
    for name in _names(table):
        origin = origins.get(name) if isinstance(origins, dict) else None
        version = origin.get("version", "") if isinstance(origin, dict) else ""
        registry().find(("tokenizer", "cell", "model"), name, needed_by=where, version=str(version))


def _names(table: dict[str, Any]) -> list[str]:
    names = [table["name"]] if isinstance(table.get("name"), str) and ":" in table["name"] else []
    return names + [name for value in table.values() if isinstance(value, dict) for name in _names(value)]


def _vocabulary(manifest: dict[str, Any], where: str) -> Vocabulary:
    table = manifest.get("vocabulary")
    try:
        vocabulary = Vocabulary(**table)  # pyright: ignore[reportCallIssue]
    except TypeError as error:
        raise ModelError(f"{where}: 'vocabulary' is damaged ({error})") from error
    ids = (vocabulary.eos_id, 0 if vocabulary.unk_id is None else vocabulary.unk_id)
    whole = all(isinstance(n, int) and not isinstance(n, bool) for n in (vocabulary.size, *ids))
    if not (whole and isinstance(vocabulary.fingerprint, str) and 0 < vocabulary.size < 2**31):
        raise ModelError(
            f"{where}: 'vocabulary' is damaged (its sizes must be whole numbers from 0 to 2147483647)"
        )
    if not all(0 <= n < vocabulary.size for n in ids):
        raise ModelError(f"{where}: 'vocabulary' is damaged (an id lies outside it)")
    return vocabulary


def _check_files(directory: Path, manifest: dict[str, Any]) -> None:
    files = manifest.get("files")
    if not isinstance(files, dict):
        raise ModelError(f"{directory / MANIFEST}: 'files' must be an object")
    for name, facts in files.items():
        path = directory / name
        if not isinstance(facts, dict) or Path(name).is_absolute() or ".." in Path(name).parts:
            raise ModelError(f"{directory / MANIFEST}: 'files' is damaged at {name!r}")
        if not path.is_file():
            raise ModelError(f"{path}: missing; restore it or train the model again")
        size = path.stat().st_size
        if size != facts.get("size") or (size <= HASHED_LIMIT and sha256(path) != facts.get("sha256")):
            raise ModelError(f"{path}: not the file that was saved (size or SHA-256 differs); restore it")


def _origin(chosen: Chosen) -> dict[str, str]:
    plugin = chosen.part().plugin
    return {"distribution": plugin.distribution, "version": plugin.version}


def _is_hidden(path: Path, directory: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(directory).parts)
