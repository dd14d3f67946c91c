"""The source of parts from files that a run stores beside its model: written and compared, but never executed."""

import logging
import shlex
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from lmkit.errors import CheckpointError, ModelError, PluginError
from lmkit.files import read_bounded, write_text
from lmkit.options import Chosen, nested
from lmkit.part_files import FilePart, digest
from lmkit.plugins import FROM_FILE, Registry, registry
from lmkit.run_paths import CODE

LARGEST = 1 << 24
"""Bytes of a stored source that are read at most."""
KINDS_OF_RUNS = ("tokenizer", "cell", "model")

log = logging.getLogger(__name__)


def file_parts(chosen: Iterable[Chosen | None]) -> list[FilePart]:
    """The parts from files among some parts and those in their options."""
    parts = (one.part() for top in chosen if top is not None for one in nested(top))
    return [part for part in parts if isinstance(part, FilePart)]


def write_code(directory: Path, *chosen: Chosen | None) -> list[Path]:
    """Write the source of each part from a file, as text; the files."""
    found = []
    for part in file_parts(chosen):
        if part.text is None:
            continue
        path = _path(directory, part.long_name)
        if _stored(path) != part.text:
            path.parent.mkdir(exist_ok=True)
            write_text(path, part.text)
        found.append(path)
    return found


def parts_for(directory: Path, names: Collection[str]) -> Registry:
    """The registry for loading a run: of several parts with one name, the one that the run was trained with.

    names: the long names in its manifest. Raises PluginError for a part from a file that nobody named in this process;
    warns of one whose source is not the stored one.
    """
    require(directory, names)
    stored = {name: text for name in from_files(names) if (text := _stored(_path(directory, name)))}
    found = registry().preferring({digest(text) for text in stored.values()})
    for name, text in stored.items():
        part = found.find(KINDS_OF_RUNS, name)
        if part.source != digest(text):
            log.warning(
                "%s: %s is not the code that it was trained with, so results may differ; to use that code, read it, "
                "then give %s",
                directory,
                part.describe(),
                _flag(directory, name),
            )
    return found


def check_code(directory: Path, *chosen: Chosen | None) -> None:
    """Raise CheckpointError if the source of a part is not the one that the run in `directory` stores."""
    for part in file_parts(chosen):
        stored = _stored(_path(directory, part.long_name))
        if stored is not None and part.source != digest(stored):
            raise CheckpointError(
                f"{directory}: {part.describe()} is not the code with which the training began: resume with "
                f"{_flag(directory, part.long_name)}, or train with other code from these weights: lmkit train TEXT "
                f"--init-from {shlex.quote(str(directory))} --out DIR"
            )


def require(directory: Path, names: Iterable[str]) -> None:
    """Raise PluginError, with what to type, for a part from a file that nobody named in this process."""
    known = {part.long_name for part in registry().parts()}
    for name in from_files(names):
        if name in known:
            continue
        bare = name.partition(":")[2]
        path = _path(directory, name)
        copy, file = "it has no copy of it", f"FILE.py:{bare}"
        if path.is_file():
            copy, file = f"to use its copy, read it, then add {_flag(directory, name)}", f"{path}:{bare}"
        raise PluginError(
            f"{directory} needs the code of {bare}, and lmkit runs no code that a run brings: name your file with "
            f"--code FILE.py:{bare}; {copy} (in Python, first: lmkit.use({file!r}))"
        )


def names_in(table: object) -> list[str]:
    """The names of parts in a table of a recipe."""
    if isinstance(table, Mapping):
        name = table.get("name")
        return ([name] if isinstance(name, str) else []) + [
            n for one in table.values() for n in names_in(one)
        ]
    return [name for one in table for name in names_in(one)] if isinstance(table, list) else []


def from_files(names: Iterable[str]) -> list[str]:
    """The names of parts from files, once each; ModelError for one that is no name of a class."""
    found = list(dict.fromkeys(name for name in names if name.startswith(f"{FROM_FILE}:")))
    for name in found:
        if not name.partition(":")[2].isidentifier():
            raise ModelError(f"damaged: {name!r} is not a name of a part from a file; restore it")
    return found


def _path(directory: Path, name: str) -> Path:
    return directory / CODE / f"{name.partition(':')[2]}.py"


def _flag(directory: Path, name: str) -> str:
    """The option that runs the stored source."""
    written = f"{_path(directory, name)}:{name.partition(':')[2]}"
    return f"--code {shlex.quote(written)}"


def _stored(path: Path) -> str | None:
    """A stored source; None if there is none that can be read."""
    try:
        return read_bounded(path, LARGEST).decode()
    except (OSError, ValueError):
        return None
