"""Say in whose code an error is: the part, the file and the line, what it was given, and who can correct it."""

import contextlib
import inspect
import os
import re
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from lmkit.errors import LmkitError, PluginError, with_kind
from lmkit.plugins import Part, registry
from lmkit.specs import NoOptions


def described(value: object) -> str:
    """The part that an object of a plugin's class is, or the name of its class, for messages."""
    kind = type(value)
    part = _part_of(kind)
    return f"{kind.__module__}:{kind.__qualname__}" if part is None else part.describe()


def remedy_for(value: object) -> str:
    """What to do about a part with a fault: "correct it" for one's own code, otherwise "report it to its author"."""
    part = _any_part(type(value).__module__)
    return "report it to its author" if part is None else part.remedy


def at_fault(error: BaseException) -> tuple[str, str] | None:
    """In whose code an error occurred, a third party's part or plugin, and what to do; None if in no third party's."""
    found = _innermost(error)
    if found is None:
        return None
    frame, _ = found
    owner = frame.f_locals.get("self", frame.f_locals.get("cls"))
    part, any_part = _part_of(owner if isinstance(owner, type) else type(owner)), _any_part(_module(frame))
    assert any_part is not None
    return any_part.describe_plugin() if part is None else part.describe(), any_part.remedy


def account(error: BaseException) -> str:
    """The error, after the place in the part's code: "mycell.py, line 12, in gates: NameError: ...; given x (2, 8)"."""
    text = with_kind(error)
    if isinstance(error, AttributeError) and isinstance(error.obj, NoOptions):
        text = f"it has no option '{error.name}': declare it in a dataclass (docs/plugins.md)"
    found = _innermost(error)
    if found is None:
        return text
    frame, line = found
    arguments = given(frame)
    place = f"{shown_path(frame.f_code.co_filename)}, line {line}, in {frame.f_code.co_name}"
    return f"{place}: {text}" + (f"; given {arguments}" if arguments else "")


@contextlib.contextmanager
def tried(part: Part) -> Iterator[None]:
    """Inside the block, turn errors into a PluginError that names the part."""
    try:
        yield
    except LmkitError:
        raise
    except Exception as error:
        raise PluginError(f"{part.describe()} failed a test call: {account(error)}; {part.remedy}") from error


def defined_at(function: object) -> str:
    """The file and the line of a function, "mycell.py, line 12", or "" if Python does not know them."""
    code = getattr(inspect.unwrap(function) if callable(function) else function, "__code__", None)
    return "" if code is None else f"{shown_path(code.co_filename)}, line {code.co_firstlineno}"


def shown_path(path: str) -> str:
    """A path for messages: relative if it is below the current folder."""
    return os.path.relpath(path) if Path(path).is_relative_to(Path.cwd()) else path


def given(frame: FrameType) -> str:
    """The shapes of the tensors and arrays among a function's arguments: "x (2, 8), state ((2, 8), (2, 8))"."""
    code = frame.f_code
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    values = ((name, form(frame.f_locals.get(name))) for name in names)
    return ", ".join(f"{name} {text}" for name, text in values if text)


def form(value: Any) -> str:
    """The shape of a tensor or an array, with its type unless it is float32; of a tuple, those of its members."""
    if isinstance(value, (tuple, list)):
        forms = [form(one) for one in value]
        return f"({', '.join(forms)}{',' * (len(forms) == 1)})" if forms and all(forms) else ""
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if not isinstance(shape, tuple) or dtype is None:
        return ""
    kind = str(dtype).removeprefix("torch.")
    return f"{tuple(shape)}" + ("" if kind == "float32" else f" {kind}")


def _part_of(kind: type) -> Part | None:
    """The third-party part whose class this is, or is a base of it."""
    targets = {part.spec.target: part for part in _third_party()}
    names = (f"{one.__module__}:{one.__qualname__}" for one in kind.__mro__)
    return next((targets[name] for name in names if name in targets), None)


def _any_part(module: str) -> Part | None:
    """A third-party part with its class in the package of a module, or in the same file."""
    package = module.partition(".")[0]
    return next((p for p in _third_party() if re.split("[.:]", p.spec.target)[0] == package), None)


def _third_party() -> list[Part]:
    return [part for part in registry().parts() if not part.plugin.builtin]


def _innermost(error: BaseException) -> tuple[FrameType, int] | None:
    """The innermost frame of a third party's code, and its line."""
    frames = [pair for pair in traceback.walk_tb(error.__traceback__) if _any_part(_module(pair[0]))]
    return frames[-1] if frames else None


def _module(frame: FrameType) -> str:
    return frame.f_globals.get("__name__", "")
