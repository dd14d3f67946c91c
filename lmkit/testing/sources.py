"""Find the line of a part's own source that an author should look at."""

import inspect
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmkit.plugins import Part


@dataclass(frozen=True)
class Place:
    """A line of a source file. name: the function or class that it is in, "" if unknown."""

    file: str
    line: int
    name: str = ""

    def __str__(self) -> str:
        path = Path(self.file)
        shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
        return f"{shown}:{self.line}" + (f", {self.name}" if self.name else "")


def place_of_error(error: BaseException, part: Part) -> Place | None:
    """The innermost line of the part's package that an exception, or its cause, passed through."""
    found = None
    cause: BaseException | None = error
    while cause is not None:
        for frame, line in traceback.walk_tb(cause.__traceback__):
            if _is_own(frame.f_globals.get("__name__", ""), part):
                found = Place(frame.f_code.co_filename, line, frame.f_code.co_qualname)
        if isinstance(cause, SyntaxError) and cause.filename and cause.lineno:
            found = Place(cause.filename, cause.lineno)
        cause = cause.__cause__
    return found


def place_of_methods(target: type, part: Part, names: Iterable[str]) -> Place | None:
    """The first of these methods that the part's package defines, else the class."""
    own = [one for one in target.__mro__ if _is_own(one.__module__, part)]
    for name in names:
        for one in own:
            if (code := _code(vars(one).get(name))) is not None:
                return Place(code.co_filename, code.co_firstlineno, f"{one.__qualname__}.{name}")
    for one in own:
        try:
            return Place(inspect.getfile(one), inspect.getsourcelines(one)[1], one.__qualname__)
        except (OSError, TypeError):
            continue
    return None


def _is_own(module: str, part: Part) -> bool:
    package = part.spec.target.partition(":")[0].partition(".")[0]
    return module.partition(".")[0] == package and not module.startswith("lmkit.testing")


def _code(method: Any) -> Any:
    """The code of a function, method or property; None for anything else."""
    method = getattr(method, "__func__", None) or getattr(method, "fget", None) or method
    return getattr(inspect.unwrap(method), "__code__", None) if callable(method) else None
