"""Distinguish runs from texts by their paths, without loading anything."""

import itertools
import os
from collections.abc import Container, Iterable
from difflib import get_close_matches
from pathlib import Path

from lmkit import strict_json
from lmkit.errors import CheckpointError, DataError, LmkitError, ModelError, UsageError

MANIFEST = "lmkit.json"
"""The file that makes a directory a model."""
RECIPE = "recipe.toml"
METRICS = "metrics.jsonl"
LOGS = "logs"
"""The folder with a folder for each logger."""
CHECKPOINTS = "checkpoints"
CHECKPOINT_STATE = "state.json"
TOKENIZER = "tokenizer"
CODE = "code"
"""The folder with the source of each part from a file: code/MyCell.py of file:MyCell."""
CLASSIFIER = "classifier"
"""The kind of a run that `lmkit classify` wrote, in its manifest."""
CLASSIFIER_SETTINGS = "classifier.json"
CLASSIFIER_START = "start"
"""The folder among the checkpoints of a classifier with what it is made of."""
ARCHIVES = (".tar.gz", ".tar.xz", ".zip")
"""The suffixes of archives of runs."""


def is_run(path: Path) -> bool:
    """Whether a path is a finished run: a directory with lmkit.json in it."""
    try:
        return (path / MANIFEST).is_file()
    except OSError:
        return False


def refuse_links(directory: Path) -> None:
    """Raise ModelError for a symbolic link inside a run: who writes in the run would change what it points to."""
    for folder, folders, files in os.walk(directory):
        for path in (Path(folder, name) for name in sorted([*folders, *files])):
            if path.is_symlink():
                raise ModelError(
                    f"{path} is a symbolic link, and lmkit writes in this run: put the file that it points to in its "
                    "place, or remove the link"
                )


def trains_classifier(directory: Path) -> bool:
    """Whether a directory has checkpoints of `lmkit classify`."""
    return (directory / CHECKPOINTS / CLASSIFIER_START).is_dir()


def recipe_to_resume(directory: Path) -> Path:
    """The recipe of a training to resume; CheckpointError if there is none."""
    path = directory / RECIPE
    if trains_classifier(directory):
        raise CheckpointError(
            f"{directory} is a classifier: continue it with lmkit classify --resume {directory}"
        )
    if not path.is_file():
        raise CheckpointError(f"{directory} has no run to resume (no {RECIPE}); give the directory of a run")
    return path


def is_unfinished(path: Path) -> bool:
    """Whether a path is the directory of a training that has no model yet.

    It has a recipe or checkpoints, and a tokenizer or nothing else, since a folder of texts may also have a file or
    a folder of either name.
    """
    try:
        if is_run(path) or not any((path / name).exists() for name in (RECIPE, CHECKPOINTS)):
            return False
        if (path / RECIPE).is_file() and (path / TOKENIZER).is_dir():
            return True
        own = (RECIPE, METRICS, LOGS, CHECKPOINTS, TOKENIZER)
        return all(item.name in own or item.name.startswith(".") for item in path.iterdir())
    except OSError:
        return False


def is_only_begun(path: Path) -> bool:
    """Whether a path is the directory of a training that was killed before its first checkpoint or its model.

    It contains nothing else, so nothing is lost when the training begins again.
    """
    try:
        own = (RECIPE, TOKENIZER, CODE, CHECKPOINTS, LOGS)
        return (
            (path / RECIPE).is_file()
            and (path / TOKENIZER).is_dir()
            and not any((path / CHECKPOINTS).glob("step-*"))
            and all(item.name in own or item.name.startswith(".") for item in path.iterdir())
        )
    except OSError:
        return False


def refuse_as_text(path: Path) -> None:
    """Raise DataError when a path given as text is a run, or a file in one."""
    if is_run(path):
        raise DataError(
            f"{path} is a run, not text: give a file or a folder of text; to use this model, give it as RUN; to "
            f"continue its training: lmkit train --resume {path}"
        )
    if is_unfinished(path):
        raise DataError(
            f"{path} is the directory of an unfinished training, not text: give a file or a folder of text"
        )
    if path.is_file() and (run := run_of_file(path)) is not None:
        raise DataError(
            f"{path} is a file of the run {run}, not text: give text, or {run} as RUN to use its model"
        )


def runs_in(folder: Path) -> list[str]:
    """The paths of the runs in a folder, in alphabetical order."""
    try:
        return sorted(str(path) for path in folder.iterdir() if is_run(path))
    except OSError:
        return []


def unfinished(path: Path) -> ModelError:
    """The error for a directory whose training has no model yet, with what to do about it."""
    checkpoints = path / CHECKPOINTS
    if trains_classifier(path):
        remedy = f"finish it with lmkit classify --resume {path}"
    elif checkpoints.is_dir() and any(checkpoints.iterdir()):
        remedy = f"finish it with lmkit train --resume {path}"
    elif (path / RECIPE).is_file():
        remedy = f"train it with lmkit train --recipe {path / RECIPE} --out {path} --overwrite"
    else:
        remedy = f"train a model with lmkit train --out {path} --overwrite"
    return ModelError(f"{path} has no {MANIFEST}: its training is unfinished; {remedy}")


def is_archive(path: Path) -> ModelError:
    """The error for an archive in place of a run's directory."""
    return ModelError(
        f"{path} is an archive: unpack it with `lmkit import archive {path} --out DIR`, then give DIR"
    )


def not_a_run(path: Path) -> LmkitError:
    """The error for a path that is not a run's directory, with suggestions from runs nearby."""
    if path.is_file() and (run := run_of_file(path)) is not None:
        return UsageError(f"{path} is a file of the run {run}: give the directory, {run}")
    if inside := runs_in(path):
        return ModelError(f"{path} is a folder of runs, not a run: give one of them, {', '.join(inside)}")
    if path.is_dir():
        hint = f" (it has no {MANIFEST})"
    else:
        hint = " (it is a file)" if path.is_file() else " (it does not exist)"
    beside = {Path(run).name: run for run in runs_in(path.parent)}
    found = get_close_matches(path.name, beside, n=1)
    close = f" (did you mean {beside[found[0]]}?)" if found else ""
    return ModelError(
        f"{path} is not a run's directory{hint}{close}: give the directory that `lmkit train --out` wrote"
    )


def run_of_file(path: Path) -> Path | None:
    """The run of a file that is listed in its lmkit.json, or is its recipe, metrics or checkpoint."""
    for folder in (*path.parents, *path.absolute().parents):
        if not is_run(folder) and not is_unfinished(folder):
            continue
        name = path.absolute().relative_to(folder.absolute()).as_posix()
        own = (MANIFEST, RECIPE, METRICS, *_listed(folder))
        if name in own or name.split("/")[0] in (CHECKPOINTS, TOKENIZER):
            return folder
    return None


def _listed(run: Path) -> list[str]:
    """The files that a run's lmkit.json lists; empty if it cannot be read, which loading the run reports."""
    try:
        files = strict_json.read(run / MANIFEST).get("files")
    except (OSError, ValueError, AttributeError):
        return []
    return list(files) if isinstance(files, dict) else []


def labels(runs: Iterable[Path]) -> dict[str, Path]:
    """The label of each run in tables and plots: the shortest distinct end of its path.

    Raises UsageError if the same run is given twice.
    """
    paths = list(runs)
    parts = [path.resolve().parts for path in paths]
    for place, path in enumerate(paths):
        if parts[place] in parts[:place]:
            raise UsageError(f"{path} is given twice; give each run once")
    found: dict[str, Path] = {}
    for own, path in zip(parts, paths, strict=True):
        length = 1
        while sum(other[-length:] == own[-length:] for other in parts) > 1:
            length += 1
        found["/".join(own[-length:])] = path
    return found


def unique(name: str, taken: Container[str]) -> str:
    """The name, with a number if it is taken."""
    names = (name if number == 1 else f"{name} ({number})" for number in itertools.count(1))
    return next(one for one in names if one not in taken)
