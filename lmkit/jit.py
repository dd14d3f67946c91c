"""Compile kernels with numba, cache them in a writable folder, and announce the wait of a first run."""

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
from lmkit.files import user_cache
from lmkit.notes import NOTE

__all__ = ["kernel"]

log = logging.getLogger(__name__)

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


def kernel(function: FunctionT) -> FunctionT:
    """Compile a function to machine code that releases the GIL, when it is first called with arrays of a type.

    Compiled code is cached under NUMBA_CACHE_DIR or else in the user's cache folder, for this version of lmkit
    and of the function's package. If neither is writable, each process compiles again, with a warning.
    """
    folder = cache_folder(Path(function.__code__.co_filename).parent)
    _announce()
    _OURS.add(function.__module__)
    settings: Any = config  # its attributes are created at run time
    before = settings.CACHE_DIR
    try:
        # numba reads it only while it decorates; kernels of other packages keep their own folder.
        settings.CACHE_DIR = str(folder or "")
        compiled: Any = numba.njit(cache=folder is not None, nogil=True, error_model="numpy")(function)
        return compiled
    finally:
        settings.CACHE_DIR = before


@cache
def cache_folder(package: Path) -> Path | None:
    """The cache folder for the kernels of a package; None if no folder is writable.

    numba checks only a function's own file. The folder's name changes with any file of the package that has
    kernels, since kernels are inlined into others.
    """
    state = hashlib.sha256()
    for path in sorted(package.glob("*.py")):
        code = path.read_bytes()
        if b"lmkit.jit" in code or b"numba" in code:
            state.update(path.name.encode() + hashlib.sha256(code).digest())
    given = os.environ.get("NUMBA_CACHE_DIR")
    top = Path(given) if given else user_cache("jit")
    if top is None:
        return None
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
    """Announce the first compilation once; reading from the cache does not count."""

    said = False

    def on_start(self, event: event.Event) -> None:
        function = (event.data or {})["dispatcher"].py_func
        if self.said or function.__module__ not in _OURS:
            return
        self.said = True
        folder = cache_folder(Path(function.__code__.co_filename).parent)
        kept = (
            f"cached in {folder}"
            if folder
            else "no cache folder is writable, so every run compiles again: set NUMBA_CACHE_DIR"
        )
        log.log(
            NOTE if folder else logging.WARNING,
            "compiling kernels for this processor; this takes some seconds (%s)",
            kept,
            extra={"about": ""},  # of no run, whichever is being scored
        )

    def on_end(self, event: event.Event) -> None:
        pass


@cache
def _announce() -> None:
    event.register("numba:compile", _Announcer())
