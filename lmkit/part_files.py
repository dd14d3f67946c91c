"""Parts from a file of Python that is no installed plugin: `FILE.py:CLASS`, for a first try."""

import hashlib
import inspect
import re
import sys
import traceback
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmkit.errors import PluginError, UsageError, reason_of, suggest, with_kind
from lmkit.plugins import CALLED_WITH, Part, Plugin, cannot_be_made, check_options, imported, registry
from lmkit.specs import KINDS, NoOptions

OWNER = "file"
"""The owner in the long names of these parts: `file:MyCell`."""
PATTERN = re.compile(r"(?P<file>.+\.py)(?::(?P<name>\w*))?", re.DOTALL)


@dataclass(frozen=True)
class FilePart(Part):
    """A part whose class comes from a file. file: as its user wrote it. text: the source that was run."""

    target: type
    file: Path
    text: bytes

    def load(self) -> type:
        return self.target

    def describe(self) -> str:
        return f"the {self.kind} {self.spec.name} of {self.file}"


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
    file = Path(match["file"])
    text = _read(file)
    module = _run(file, text)
    classes = _classes(module)
    if not match["name"]:
        parts = [one for one in classes if _kinds_of(getattr(module, one))] or ["CLASS"]
        raise UsageError(f"'{name}' lacks the class: write {' or '.join(f'{file}:{one}' for one in parts)}")
    target = getattr(module, match["name"], None)
    if target is None:
        raise UsageError(f"{file} has no class '{match['name']}'; {suggest(match['name'], classes)}")
    return part_of_class(target, match["name"], file, text)


def part_of_class(target: object, name: str, file: Path, text: bytes) -> FilePart:
    """The part that a class is; PluginError if it is not a part. file, text: its source."""
    where = f"{file}:{name}"
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
    spec = KINDS[kinds[0]](
        name, f"{target.__module__}:{name}", summary.partition("\n")[0], _options_of(target, where)
    )
    version = hashlib.sha256(text).hexdigest()[:12]
    plugin = Plugin(name, OWNER, version, lambda: sys.modules[target.__module__])
    return FilePart(spec, plugin, target, file, text)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        beside = file.parent.glob("*.py") if file.parent.is_dir() else ()
        near = suggest(str(file), map(str, sorted(beside)))
        raise UsageError(f"{file}: there is no such file; {near}") from None
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {reason_of(error)}; check the path") from error


def _run(file: Path, text: bytes) -> types.ModuleType:
    """The module of a file, run once while its text stays the same."""
    path = file.resolve()
    name = f"{OWNER}_{path.stem}_{hashlib.sha256(bytes(path) + text).hexdigest()[:12]}"
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
    lines = [
        line
        for frame, line in traceback.walk_tb(error.__traceback__)
        if frame.f_code.co_filename == str(path)
    ]
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


def _options_of(target: type, where: str) -> type:
    """The class of a part's options."""
    for one in target.__mro__:
        found = inspect.get_annotations(one).get("options")
        if isinstance(found, str):
            try:
                found = eval(found, vars(sys.modules[one.__module__]))
            except Exception as error:
                raise PluginError(
                    f"{where}: its annotation `options: {found}` fails: {with_kind(error)}"
                ) from error
        found = found or next(_registered_options(one), None)
        if found is not None and found is not Any:
            if problem := check_options(found):
                raise PluginError(f"{where}: {problem} (docs/plugins.md)")
            return found
    return NoOptions


def _registered_options(target: type) -> Iterator[type]:
    """The options of the installed part whose target is this class."""
    name = f"{target.__module__}:{target.__qualname__}"
    return (part.spec.options for part in registry().parts() if part.spec.target == name)
