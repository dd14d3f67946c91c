"""Adapters that hand lmkit's vectors to other libraries; each is imported by its own name, and none by lmkit."""

import importlib
import math
import os
import shutil
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from lmkit import run_paths
from lmkit.errors import UsageError
from lmkit.manifest import check_files, read_manifest
from lmkit.plugins import install_hint

if TYPE_CHECKING:
    from lmkit.api import Model

# Nothing heavy is imported above: spaCy imports its adapter, and with it this file, whenever it starts.

_owner = os.getpid()
"""The process that imported this file, and any fork of it that has been seen to."""


def needs(module: str, extra: str) -> ModuleType:
    """The module of a library that comes with one of lmkit's extras.

    Raises UsageError, with the line that installs the extra, where the library is missing.
    """
    library = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != library:
            raise  # the library is there, and something that it needs is not
        raise UsageError(
            f"the library {library}, which this adapter is for, is not installed: {install_hint(extra)}"
        ) from error


def shared_model(run: str | Path, device: str = "auto") -> "Model":
    """The model of a run, loaded once a process however many adapters, or copies of one, ask for it.

    Adapters keep the run's path and call this when they need vectors, so that copying, pickling and sending them
    to other processes never copies weights. A run that was trained anew is loaded anew.
    Raises ModelError and PluginError as `lmkit.load` does.
    """
    if os.getpid() != _owner:
        _use_one_thread()
    directory = Path(run).resolve()
    manifest = directory / run_paths.MANIFEST
    return _load(directory, device, manifest.stat().st_mtime_ns if manifest.is_file() else 0)


def _use_one_thread() -> None:
    """Compute on one thread from now on, in a fork: OpenMP's threads, which torch may have used, are not in it, and
    waiting for them never ends (https://github.com/pytorch/pytorch/issues/17199).
    """
    import torch

    global _owner
    torch.set_num_threads(1)
    _owner = os.getpid()


@lru_cache(maxsize=4)
def _load(directory: Path, device: str, modified: int) -> "Model":
    """modified: when the run's manifest was written, which makes a new run in the same place another key."""
    from lmkit import api

    return api.load(directory, device=device)


def copy_run(run: str | Path, out: Path) -> None:
    """Copy what makes the model of a run (its checkpoints and metrics stay behind) to `out`, whole or not at all.

    A run that `out` holds is replaced. Raises ModelError when the run is damaged, UsageError when `out` holds
    something else.
    """
    from lmkit import runs  # torch comes with it

    directory = Path(run)
    manifest = read_manifest(directory)
    if out.resolve() == directory.resolve():
        return
    check_files(directory, manifest, hash_limit=math.inf)
    runs.check_free(out, overwrite=True)
    with runs.staging(out) as folder:
        for name in runs.travelling(directory, manifest):
            target = folder / "run" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(directory / name, target)
        runs.put_in_place(folder / "run", out)
