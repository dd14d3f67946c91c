"""Parts that no plugin provides: a class in a file of Python, `FILE.py:CLASS`, or in a notebook."""

import hashlib
import inspect
import linecache
import logging
import os
import re
import sys
import traceback
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmkit.errors import PluginError, UsageError, reason_of, suggest, with_kind
from lmkit.notes import NOTE
from lmkit.plugins import (
    CALLED_WITH,
    FROM_FILE,
    Part,
    Plugin,
    cannot_be_made,
    check_options,
    imported,
    registry,
)
from lmkit.specs import KINDS, NoOptions

log = logging.getLogger(__name__)

PATTERN = re.compile(r"(?P<file>.+\.py)(?::(?P<name>\w*))?", re.DOTALL)
NOTEBOOK = "a notebook"
SESSION = "this session"


@dataclass(frozen=True)
class FilePart(Part):
    """A part whose class no plugin provides.

    file: where the class is from, as its user wrote it; NOTEBOOK or SESSION if it is in no file. text: the source of
    the whole file, or of the notebook's cell; None if it cannot be had.
    """

    target: type
    file: str
    text: str | None

    @property
    def origin(self) -> str:
        return self.file

    @property
    def remedy(self) -> str:
        return "correct it"

    @property
    def display_name(self) -> str:
        return self.written or self.long_name

    @property
    def source(self) -> str:
        return f"object {id(self.target)}" if self.text is None else digest(self.text)

    @property
    def written(self) -> str | None:
        """FILE.py:CLASS, or None if the class is in no file."""
        return None if self.file in (NOTEBOOK, SESSION) else f"{self.file}:{self.spec.name}"

    def describe_plugin(self) -> str:
        return f"the code of {self.file}"

    def load(self) -> type:
        return self.target

    def describe(self) -> str:
        return f"the {self.kind} {self.spec.name} of {self.file}"


def digest(text: str) -> str:
    """The SHA-256 of a source."""
    return hashlib.sha256(text.encode()).hexdigest()


def use(part: str | type) -> str:
    """Run the file of FILE.py:CLASS, or take a class, and return the part's name: `file:MyCell`.

    The name then works wherever lmkit takes the name of a part, and runs with such a part can be loaded. A run never
    brings code: the source in it is not executed unless its file is given here. Of several classes with one name, a
    run gets the one that it was trained with, and anything else the last.
    Raises UsageError if the file or the class is missing, PluginError if the file fails or the class is not a part.
    """
    found = part_of_class(part) if isinstance(part, type) else part_from_file(part)
    if isinstance(found, FilePart):
        registry().add(found)
        if found.text is None:
            text = "the source of %s cannot be found, so no run of it has a copy; write the class in a file to keep it"
            log.log(NOTE, text, found.spec.name)
    return found.long_name


def to_send() -> list[list[str]]:
    """The parts that `use` has taken, for `add_again` in another process; without those that have no source."""
    parts = (part for part in registry().parts() if isinstance(part, FilePart))
    return [[part.file, part.spec.name, part.text] for part in parts if part.text is not None]


def add_again(parts: list[list[str]]) -> None:
    """Take the parts of another process, which ran their files already."""
    for part in parts:
        registry().add(part_from_text(*part))


def as_names(value: Any) -> Any:
    """The value with names of parts in the place of classes, also inside tables and lists; `use` takes them."""
    if isinstance(value, type):
        return use(value)
    if isinstance(value, Mapping):
        return {name: as_names(one) for name, one in value.items()}
    return [as_names(one) for one in value] if isinstance(value, list) else value


def is_file(name: str) -> bool:
    """Whether a name of a part is a file of Python: FILE.py:CLASS, or FILE.py alone, which lacks the class."""
    return PATTERN.fullmatch(name) is not None


def part_from_file(name: str) -> FilePart:
    """The part that FILE.py:CLASS names; this runs the file. A file that has not changed is run once.

    The class tells the kind: it is a Cell, LanguageModel, Encoder, Tokenizer or Decoder. Its options are the
    dataclass that annotates `options` in the class (`options: MyOptions`), or those of a built-in part that it
    inherits from, or none. Raises UsageError if the file or the class is missing, PluginError if the file fails or
    the class is not a part.
    """
    match = PATTERN.fullmatch(name)
    if match is None:
        raise UsageError(f"'{name}': write FILE.py:CLASS, such as mycell.py:MyCell")
    return part_from_text(match["file"], match["name"] or "", _read(Path(match["file"])))


def part_from_text(file: str, name: str, text: str) -> FilePart:
    """The same for a file that was read already."""
    module = _run(Path(file), text)
    classes = _classes(module)
    if not name:
        parts = [one for one in classes if _kinds_of(getattr(module, one))] or ["CLASS"]
        raise UsageError(f"'{file}' names no class: write {' or '.join(f'{file}:{one}' for one in parts)}")
    target = getattr(module, name, None)
    if target is None:
        raise UsageError(f"{file} has no class '{name}'; {suggest(name, classes)}")
    return _part(target, name, file, text)


def part_of_class(target: type) -> Part:
    """The part that a class is: the installed one, or one with the source that Python finds for the class."""
    installed = next(_installed(target), None)
    if installed is not None:
        return installed
    file, text = _source(target)
    return _part(target, target.__name__, file, text)


def options_of(target: type, where: str) -> type:
    """The dataclass of the options of a class. where: for the PluginError if it is none."""
    for one in target.__mro__:
        found = None
        try:
            found = inspect.get_annotations(one).get("options")
            if isinstance(found, str):
                found = eval(found, vars(sys.modules[one.__module__]))
        except Exception as error:
            raise PluginError(f"{where}: its annotation of `options` fails: {with_kind(error)}") from error
        found = found or next((part.spec.options for part in _installed(one)), None)
        if found is None or found is Any:
            continue
        if problem := check_options(found):
            raise PluginError(f"{where}: {problem} (docs/plugins.md)")
        return found
    return NoOptions


def _part(target: object, name: str, file: str, text: str | None) -> FilePart:
    where = f"{file}:{name}" if is_file(file) else f"{name} of {file}"
    if not isinstance(target, type):
        raise PluginError(f"{where} is not a class but {type(target).__name__}; name a class")
    kinds = _kinds_of(target)
    if not kinds:
        bases = ", ".join(one.rpartition(":")[2] for kind in KINDS.values() for one in kind.contracts)
        raise PluginError(f"{where} is not a part: let it inherit one of {bases} (docs/plugins.md)")
    if len(kinds) > 1:
        raise PluginError(f"{where} is a {' and a '.join(kinds)}; let it inherit only one of them")
    if problem := cannot_be_made(target, CALLED_WITH.get(kinds[0], ())):
        raise PluginError(f"{where} {problem}")
    summary = (inspect.getdoc(target) if target.__doc__ else None) or ""
    first_line = summary.partition("\n")[0]
    spec = KINDS[kinds[0]](name, f"{target.__module__}:{name}", first_line, options_of(target, where))
    version = "" if text is None else digest(text)[:12]
    plugin = Plugin(name, FROM_FILE, version, lambda: sys.modules[target.__module__])
    return FilePart(spec, plugin, target, file, text)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        beside = file.parent.glob("*.py") if file.parent.is_dir() else ()
        near = suggest(str(file), map(str, sorted(beside)))
        raise UsageError(f"{file}: there is no such file; {near}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{file}: byte {error.start} is not UTF-8; save the file as UTF-8") from None
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {reason_of(error)}; check the path") from error


def _run(file: Path, text: str) -> types.ModuleType:
    """The module of a file, run once while its text stays the same."""
    path = file.resolve()
    name = f"{FROM_FILE}_{path.stem}_{digest(f'{path}:{text}')[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    try:
        code = compile(text, str(path), "exec", dont_inherit=True)
    except SyntaxError as error:
        line = f", line {error.lineno}" if error.lineno else ""
        shown = f": {error.text.strip()}" if error.text else ""
        raise PluginError(f"{file}{line}: {error.msg}{shown}; correct it") from None
    except ValueError as error:  # a NUL in it
        raise PluginError(f"{file} is not a text of Python: {error}") from None
    module = types.ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module  # dataclasses and annotations look it up
    try:
        exec(code, module.__dict__)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise PluginError(
            f"{_where(error, file, path)}: {with_kind(error)}; {_remedy(error, path)}"
        ) from error
    return module


def _where(error: BaseException, file: Path, path: Path) -> str:
    frames = traceback.walk_tb(error.__traceback__)
    lines = [line for frame, line in frames if frame.f_code.co_filename == str(path)]
    return f"{file}, line {lines[-1]}" if lines else str(file)


def _remedy(error: BaseException, path: Path) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name:
        if path.with_name(f"{error.name.partition('.')[0]}.py").exists():
            return "a part's file is run alone: put both in one file, or make a plugin (lmkit plugins new)"
        return f"install {error.name.partition('.')[0]}, or correct the name"
    return "correct it"


def _classes(module: types.ModuleType) -> list[str]:
    """The names of the classes that a module defines."""
    return [
        name
        for name, value in vars(module).items()
        if isinstance(value, type) and value.__module__ == module.__name__
    ]


def _kinds_of(target: type) -> list[str]:
    return [kind for kind, spec in KINDS.items() if issubclass(target, tuple(map(imported, spec.contracts)))]


def _installed(target: type) -> Iterator[Part]:
    """The installed part whose target is this class."""
    name = f"{target.__module__}:{target.__qualname__}"
    return (
        part for part in registry().parts() if part.spec.target == name and not isinstance(part, FilePart)
    )


def _source(target: type) -> tuple[str, str | None]:
    """The file and the source of a class: its module's, or that of the notebook's cell with its methods."""
    file = getattr(sys.modules.get(target.__module__), "__file__", None)
    if file is not None:
        path = Path(file)
        inside = path.is_relative_to(Path.cwd())
        return (os.path.relpath(path) if inside else str(path)), _read(path)
    for member in vars(target).values():
        code = getattr(getattr(member, "__func__", member), "__code__", None)
        if code is not None and (lines := linecache.getlines(code.co_filename)):
            return NOTEBOOK, "".join(lines)
    return SESSION, None
