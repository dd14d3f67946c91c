"""Kernels compiled by numba: kept where any installation can write, and word of what a first run waits for."""

import hashlib
import logging
import os
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba.core import config, event

import lmkit
from lmkit.notes import NOTE

__all__ = ["kernel"]

log = logging.getLogger(__name__)

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


def kernel(function: FunctionT) -> FunctionT:
    """Compile a function without the interpreter and its lock, when it is first called with arrays of a type.

    What was compiled is kept under NUMBA_CACHE_DIR, else in the user's cache folder, for this version of lmkit
    and of the function's package; where neither can be written, each process compiles it anew and says so.
    """
    folder = cache_folder(Path(function.__code__.co_filename).parent)
    _announce()
    _OURS.add(function.__module__)
    settings: Any = config  # its names are made at run time
    before = settings.CACHE_DIR
    try:
        # numba looks at it only while it decorates; kernels of other packages keep their own place.
        settings.CACHE_DIR = str(folder or "")
        compiled: Any = numba.njit(cache=folder is not None, nogil=True, error_model="numpy")(function)
        return compiled
    finally:
        settings.CACHE_DIR = before


@cache
def cache_folder(package: Path) -> Path | None:
    """Where the kernels of a package are kept; None when nothing can be written.

    numba compares a function with its own file only; the name of the folder changes with any file of the
    package that has kernels, since one is compiled into another.
    """
    import platformdirs

    state = hashlib.sha256()
    for path in sorted(package.glob("*.py")):
        code = path.read_bytes()
        if b"lmkit.jit" in code or b"numba" in code:
            state.update(path.name.encode() + hashlib.sha256(code).digest())
    given = os.environ.get("NUMBA_CACHE_DIR")
    top = Path(given) if given else platformdirs.user_cache_path("lmkit") / "jit"
    folder = top / f"{lmkit.__version__}-{package.name}-{state.hexdigest()[:12]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:
        return None


_OURS: set[str] = set()
"""The modules whose kernels are announced."""


class _Announcer(event.Listener):
    """Says once that a compilation has begun; what is read from the cache begins none."""

    said = False

    def on_start(self, event: event.Event) -> None:
        function = (event.data or {})["dispatcher"].py_func
        if self.said or function.__module__ not in _OURS:
            return
        self.said = True
        folder = cache_folder(Path(function.__code__.co_filename).parent)
        kept = (
            f"they are kept in {folder}"
            if folder
            else "nothing is writable that could keep them, so each run does it again: set NUMBA_CACHE_DIR"
        )
        log.log(
            NOTE if folder else logging.WARNING,
            "compiling kernels for this processor, which takes some seconds (%s)",
            kept,
        )

    def on_end(self, event: event.Event) -> None:
        pass


@cache
def _announce() -> None:
    event.register("numba:compile", _Announcer())
