"""Read and check lmkit.json, which makes a directory a model, without loading the model."""

import reprlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lmkit
from lmkit import run_paths, strict_json
from lmkit.errors import LmkitError, ModelError, reason_of
from lmkit.files import sha256
from lmkit.pickles import SUFFIXES, refuse_pickle
from lmkit.run_paths import ARCHIVES, MANIFEST, is_unfinished, unfinished

FORMAT = 1
LONGEST_NAME = 255
HASHED_LIMIT = 1 << 28
"""Larger files are compared by size only: loading a model maps them and does not read them. `verify` hashes them."""


def read_manifest(directory: Path) -> dict[str, Any]:
    """The contents of lmkit.json, with their form checked."""
    path = directory / MANIFEST
    if not directory.is_dir():
        raise _no_directory(directory)
    if not path.exists():
        for other in sorted(directory.iterdir()):
            if other.suffix.lower() in SUFFIXES and other.is_file():
                refuse_pickle(other, by_name=True)
        if is_unfinished(directory):
            raise unfinished(directory)
        raise run_paths.not_a_run(directory)
    manifest = read_json(path)
    if "format" not in manifest:
        raise ModelError(f"{path}: damaged: it has no format; restore it or train the model again")
    if manifest["format"] != FORMAT:
        raise ModelError(
            f"{path}: format {reprlib.repr(manifest['format'])}, this lmkit {lmkit.__version__} reads {FORMAT}; "
            f"it was written by lmkit {reprlib.repr(manifest.get('lmkit'))}: install a version that matches"
        )
    return manifest


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in an untrusted file of a model; ModelError if there is none."""
    try:
        value = strict_json.read(path)
    except FileNotFoundError:
        raise ModelError(f"{path}: missing; restore it or train the model again") from None
    except (ValueError, OSError) as error:
        raise ModelError(
            f"{path}: not valid JSON ({reason_of(error)}); restore it or train the model again"
        ) from error
    if not isinstance(value, dict):
        raise ModelError(f"{path}: must hold a JSON object, not {type(value).__name__}")
    return value


def part_tables(directory: Path) -> dict[str, Any]:
    """The tables of a run's model and tokenizer, as in a recipe; ModelError if there are none."""
    manifest = read_manifest(directory)
    tables = {name: manifest.get(name) for name in ("model", "tokenizer")}
    for name, table in tables.items():
        if not isinstance(table, dict) or not isinstance(table.get("name"), str):
            raise ModelError(f"{directory / MANIFEST}: '{name}' must be an object with a name and options")
    return tables


def check_files(directory: Path, manifest: dict[str, Any], *, hash_limit: float | None = None) -> None:
    """Raise ModelError unless the files that a manifest lists are the files that were saved.

    hash_limit: compare the SHA-256 of files of up to this many bytes, which reads them completely; larger files
    are compared by size only. By default HASHED_LIMIT.
    """
    for problem in problems(directory, manifest, HASHED_LIMIT if hash_limit is None else hash_limit):
        raise ModelError(problem)


def problems(directory: Path, manifest: dict[str, Any], hash_limit: float) -> Iterator[str]:
    """A message for each file that is not as it was saved; ModelError if the list of files is damaged."""
    files = manifest.get("files")
    if not isinstance(files, dict):
        raise ModelError(f"{directory / MANIFEST}: 'files' must be an object")
    for name, facts in files.items():
        path = directory / name
        # Names that are not printable may not encode; file systems allow names of 255 bytes.
        plain = name.isprintable() and len(name.encode()) <= LONGEST_NAME
        inside = not Path(name).is_absolute() and ".." not in Path(name).parts
        if not (plain and inside and isinstance(facts, dict)):
            raise ModelError(f"{directory / MANIFEST}: 'files' is damaged at {reprlib.repr(name)}")
        if not path.is_file():
            yield f"{path}: missing; restore it or train the model again"
            continue
        size = path.stat().st_size
        if size != facts.get("size") or (size <= hash_limit and sha256(path) != facts.get("sha256")):
            yield f"{path}: has changed since it was saved (size or SHA-256 differs); restore it"


def _no_directory(path: Path) -> LmkitError:
    """The error for a path that is not a run's directory."""
    if path.is_file():
        if path.name.endswith(ARCHIVES):
            return run_paths.is_archive(path)
        refuse_pickle(path, by_name=True)
    return run_paths.not_a_run(path)
