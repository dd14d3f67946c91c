"""Write and read the directory of a run."""

import contextlib
import re
import reprlib
import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lmkit
from lmkit import strict_json
from lmkit.blame import tried
from lmkit.contracts import Encoder, LanguageModel, Tokenizer, Vocabulary
from lmkit.errors import ModelError, PluginError, UsageError
from lmkit.files import sha256, write_text, writing
from lmkit.kinds import is_module
from lmkit.manifest import FORMAT, LONGEST_NAME, check_files, read_manifest
from lmkit.manifest import read_json as read_json
from lmkit.options import Chosen, choose, nested, to_table
from lmkit.plugins import Part, registry
from lmkit.run_code import parts_for, write_code
from lmkit.run_paths import CLASSIFIER, MANIFEST, RECIPE, TOKENIZER, trains_classifier
from lmkit.specs import MOST_IDS

if TYPE_CHECKING:
    from torch import nn

LOCK = ".lock"


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
    def carried(self) -> int | None:
        """The largest number of tokens over which training carried a state; None if unknown."""
        training = self.manifest.get("training")
        carried = training.get("carried_tokens") if isinstance(training, dict) else None
        return carried if isinstance(carried, int) else None


def check_free(directory: Path, *, overwrite: bool) -> None:
    """Raise UsageError when a run must not be written here."""
    if not directory.exists() or (directory.is_dir() and not _contents(directory)):
        return
    if not overwrite:
        raise UsageError(f"{directory} exists already: give --overwrite to replace it, or another --out")
    begun = (directory / RECIPE).exists() or trains_classifier(directory)
    if not (directory / MANIFEST).exists() and not begun:
        raise UsageError(f"{directory} is not a run of lmkit, so it is not overwritten: give another --out")


def clear(directory: Path, *, keep: Collection[str] = ()) -> None:
    """Empty a run's directory, except for the lock and the names to keep."""
    for path in _contents(directory):
        if path.name in keep:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _contents(directory: Path) -> list[Path]:
    return [path for path in directory.iterdir() if path.name != LOCK]


@contextlib.contextmanager
def staging(out: Path) -> Iterator[Path]:
    """A temporary folder on the disk of `out`, so that its contents can be moved there by a rename.

    Errors of writing are those of `lmkit.files.writing`.
    """
    beside = next(parent for parent in out.absolute().parents if parent.is_dir())
    with writing(out, beside):
        made = tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=beside)
    with made as folder, writing(out, Path(folder)):
        yield Path(folder)


def put_in_place(run: Path, out: Path) -> None:
    """Rename a finished directory to `out`, and replace an existing one; of a link, the one that it points to."""
    out = out.resolve()
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.exists():
        shutil.rmtree(out)
    run.rename(out)


def make_run(
    out: Path,
    model: LanguageModel | Encoder,
    tokenizer: Tokenizer,
    *,
    model_choice: Chosen,
    tokenizer_choice: Chosen,
    data: Mapping[str, str],
    training: Mapping[str, Any] | None = None,
    recipe: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Create a run of a finished model, such as one from another program's files, atomically.

    data: its origin ("description"). training: facts of its training. recipe: the file to copy as its recipe, if
    there is such a file. overwrite: replace the run that `out` already holds.
    Raises UsageError when `out` is taken.
    """
    check_free(out, overwrite=overwrite)
    with staging(out) as folder:
        made = folder / "run"
        (made / TOKENIZER).mkdir(parents=True)
        tokenizer.save(made / TOKENIZER)
        keep_model(
            made, model, model_choice=model_choice, tokenizer_choice=tokenizer_choice,
            vocabulary=tokenizer.vocabulary, data=data, training=training or {},
        )  # fmt: skip
        if recipe is not None and recipe.is_file():
            shutil.copyfile(recipe, made / RECIPE)
        put_in_place(made, out)


def keep_model(
    directory: Path,
    model: LanguageModel | Encoder,
    *,
    model_choice: Chosen,
    tokenizer_choice: Chosen,
    vocabulary: Vocabulary,
    data: Mapping[str, str],
    training: Mapping[str, Any],
) -> None:
    """Save a model into a run's directory, which has the tokenizer already: first its files, then lmkit.json."""
    saving = directory / ".saving"
    shutil.rmtree(saving, ignore_errors=True)
    saving.mkdir()
    try:
        model.save(saving)
        files = [path.relative_to(saving).as_posix() for path in saving.rglob("*") if path.is_file()]
        for path in saving.iterdir():
            path.replace(directory / path.name)
    finally:
        shutil.rmtree(saving, ignore_errors=True)
    kind = "causal" if isinstance(model, LanguageModel) else "encoder"
    write_manifest(
        directory, kind=kind, model=model_choice, tokenizer=tokenizer_choice, vocabulary=vocabulary,
        parameters=model.parameter_count(), data=data, training=training, files=files,
    )  # fmt: skip


def write_manifest(
    directory: Path,
    *,
    kind: str,
    model: Chosen,
    tokenizer: Chosen,
    vocabulary: Vocabulary,
    parameters: int,
    data: Mapping[str, str],
    training: Mapping[str, Any],
    files: Iterable[str],
) -> None:
    """Write lmkit.json atomically, after all other files: with it, the directory is a model.

    The source of parts from files is written too.

    files: the names of the model's files, without the tokenizer's.
    """
    parts = [*(directory / name for name in files), *write_code(directory, model, tokenizer)]
    parts += [path for path in (directory / TOKENIZER).rglob("*") if path.is_file()]
    parts.sort()
    with ThreadPoolExecutor() as pool:  # hashing releases the GIL
        sums = list(pool.map(sha256, parts))
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
        "parameters": parameters,
        "data": dict(data),
        "training": dict(training),
        "files": {
            path.relative_to(directory).as_posix(): {"size": path.stat().st_size, "sha256": sum_}
            for path, sum_ in zip(parts, sums, strict=True)
        },
    }
    write_text(directory / MANIFEST, strict_json.dumps(manifest, indent=1, ascii_only=False) + "\n")


def load_run(directory: Path, *, allow_nonfinite: bool = False) -> LoadedRun:
    """Load the model in a run's directory.

    allow_nonfinite: load it even if weights are NaN or infinite.
    Raises ModelError when a file is missing, damaged or does not fit, PluginError when a plugin of the model is
    not installed. Imports only installed plugins, executes no code of the run, and unpickles nothing.
    """
    manifest = read_manifest(directory)
    if manifest.get("kind") == CLASSIFIER:
        raise ModelError(
            f"{directory} is a classifier, not a language model or an encoder: use lmkit predict {directory} TEXT"
        )
    return load_parts(directory, manifest, allow_nonfinite=allow_nonfinite)


def load_parts(directory: Path, manifest: dict[str, Any], *, allow_nonfinite: bool = False) -> LoadedRun:
    """Load the model and the tokenizer that a run's manifest describes, as `load_run` does."""
    where = str(directory / MANIFEST)
    chosen_model = _choice("model", manifest, directory)
    chosen_tokenizer = _choice("tokenizer", manifest, directory)
    vocabulary = _vocabulary(manifest, where)
    check_files(directory, manifest)
    tokenizer: Tokenizer = chosen_tokenizer.load().load(directory / TOKENIZER, chosen_tokenizer.options)
    if tokenizer.vocabulary != vocabulary:
        raise ModelError(
            f"{directory / TOKENIZER}: not the tokenizer that the model was trained with "
            f"(vocabulary {tokenizer.vocabulary.fingerprint[:12]}, wanted {vocabulary.fingerprint[:12]}); restore it"
        )
    model: LanguageModel | Encoder = chosen_model.load().load(directory, chosen_model.options, vocabulary)
    if is_module(model) and not allow_nonfinite:
        _check_finite(model, directory)
    if isinstance(model, Encoder):
        model.use_tokenizer(tokenizer)
    elif not (part := chosen_model.part()).plugin.builtin:
        _try_model(model, part)
    return LoadedRun(directory, model, tokenizer, chosen_model, chosen_tokenizer, manifest)


def _check_finite(model: "nn.Module", directory: Path) -> None:
    from lmkit.neural.weights import nonfinite, shortened

    if names := nonfinite(model):
        raise ModelError(
            f"{directory}: NaN or infinite weights: {shortened(names)}; train it again with a lower "
            "learning rate, or load it anyway with --allow-nonfinite (in Python, allow_nonfinite=True)"
        )


def _try_model(model: LanguageModel, part: Part) -> None:
    """Raise PluginError unless the first row of a plugin's model has a score for each id."""
    import torch

    with tried(part), torch.no_grad(), torch.random.fork_rng(devices=[]):
        shape, wanted = model.next_log_probs(model.initial_state(1)).shape, (1, model.vocabulary.size)
    if shape != wanted:
        raise PluginError(
            f"{part.describe()}: its scores have the shape {tuple(shape)}, wanted {wanted}; {part.remedy}"
        )


def _choice(kind: str, manifest: dict[str, Any], directory: Path) -> Chosen:
    where = str(directory / MANIFEST)
    table = manifest.get(kind)
    if not isinstance(table, dict):
        raise ModelError(f"{where}: '{kind}' must be an object with a name and options")
    names = _names(table, where)
    parts = parts_for(directory, names)
    _check_installed(names, manifest, where)
    try:
        return choose(kind, table, f"{where}: {kind}", parts=parts)
    except UsageError as error:
        raise ModelError(str(error)) from error


def _check_installed(names: Iterable[str], manifest: dict[str, Any], where: str) -> None:
    """Raise PluginError, with the version to install, if a part with one of these names is not installed."""
    origins = manifest.get("distributions")
    for name in names:
        origin = origins.get(name) if isinstance(origins, dict) else None
        version = origin.get("version") if isinstance(origin, dict) else None
        # The message has a shell command with it.
        if not (isinstance(version, str) and re.fullmatch(r"\w[\w.+!-]{0,63}", version)):
            version = ""
        registry().find(("tokenizer", "cell", "model"), name, needed_by=where, version=version)


def _names(table: dict[str, Any], where: str) -> list[str]:
    """The long names in a table; ModelError for malformed names of parts and options."""
    found = []
    for key, value in table.items():
        if not key.isidentifier() or len(key) > LONGEST_NAME:
            raise ModelError(f"{where}: damaged: {reprlib.repr(key)} is not a name of an option")
        # An option may be a part, or a list of them.
        tables = value if isinstance(value, list) else [value]
        found += [name for table in tables if isinstance(table, dict) for name in _names(table, where)]
        if key == "name" and isinstance(value, str):
            if not re.fullmatch(r"\w[\w.:-]*", value) or len(value) > LONGEST_NAME:
                raise ModelError(f"{where}: damaged: {reprlib.repr(value)} is not a name of a part")
            found += [value] if ":" in value else []
    return found


def _vocabulary(manifest: dict[str, Any], where: str) -> Vocabulary:
    table = manifest.get("vocabulary")
    wanted = [item.name for item in fields(Vocabulary)]
    if not isinstance(table, dict) or table.keys() != set(wanted):
        raise ModelError(f"{where}: 'vocabulary' is damaged (it must have exactly {', '.join(wanted)})")
    vocabulary = Vocabulary(**table)
    ids = (vocabulary.eos_id, 0 if vocabulary.unk_id is None else vocabulary.unk_id)
    whole = all(isinstance(n, int) and not isinstance(n, bool) for n in (vocabulary.size, *ids))
    named = isinstance(vocabulary.fingerprint, str) and vocabulary.fingerprint.isprintable()
    if not (whole and named and 0 < vocabulary.size <= MOST_IDS):
        raise ModelError(
            f"{where}: 'vocabulary' is damaged (its sizes must be whole numbers from 0 to {MOST_IDS})"
        )
    if not all(0 <= n < vocabulary.size for n in ids):
        raise ModelError(f"{where}: 'vocabulary' is damaged (an id is outside it)")
    return vocabulary


def travelling(directory: Path, manifest: dict[str, Any]) -> list[str]:
    """The names of the files to copy with a run's model: no checkpoints and no metrics.

    The manifest comes last, so an interrupted copy has no manifest.
    """
    recipe = [RECIPE] if (directory / RECIPE).is_file() else []
    return [*manifest["files"], *recipe, MANIFEST]


def _origin(chosen: Chosen) -> dict[str, str]:
    plugin = chosen.part().plugin
    return {"distribution": plugin.distribution, "version": plugin.version}
