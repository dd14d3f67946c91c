"""The models and the text of a study, from arguments of Python code."""

from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

from lmkit import run_paths
from lmkit.api import Model, load
from lmkit.corpus.options import DataOptions
from lmkit.corpus.readers import Text
from lmkit.errors import UsageError
from lmkit.notebook import NotebookReporter, in_notebook
from lmkit.options import resolve

T = TypeVar("T")

PathOrModel = str | PathLike[str] | Model
Models = PathOrModel | Sequence[PathOrModel] | Mapping[str, PathOrModel]
"""A model or several: loaded, or as the directories of their runs; a mapping gives each a label."""
Paths = str | PathLike[str] | Sequence[str | PathLike[str]]


def loaded(models: Models, **options: Any) -> dict[str, Model]:
    """The models by their labels; options: those of `lmkit.load`, for models given as directories."""
    return {
        label: one if isinstance(one, Model) else load(Path(one), **options)
        for label, one in labelled(models).items()
    }


def labelled(models: Models) -> dict[str, PathOrModel]:
    """The given models by label; the default labels are ends of the paths of runs.

    Raises UsageError if a run is given twice, or no model.
    """
    if isinstance(models, Mapping):
        given = dict(models)
    else:
        several = [models] if isinstance(models, (str, PathLike, Model)) else list(models)
        paths = [one.run.directory if isinstance(one, Model) else Path(one) for one in several]
        given = dict(zip(run_paths.labels(paths), several, strict=True))
    if not given:
        raise UsageError("no model given; give the directory of a run, or several")
    return given


def as_text(text: Paths | Text, data: Mapping[str, Any]) -> Text:
    """The text of paths; data: the options of reading it, by the names of `DataOptions`."""
    if isinstance(text, Text):
        return text
    return Text(path_list(text), resolve(DataOptions, data, "data"))


def path_list(paths: Paths) -> list[str]:
    """One path or several, as strings."""
    several = [paths] if isinstance(paths, (str, PathLike)) else paths
    return [str(path) for path in several]


def usual_progress(items: Iterable[T], *, total: int | None, label: str) -> Iterable[T]:
    """The `contracts.Progress` of Python code: a bar in notebooks, nothing elsewhere."""
    return NotebookReporter()(items, total=total, label=label) if in_notebook() else items
