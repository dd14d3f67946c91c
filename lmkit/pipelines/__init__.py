"""Adapters that give lmkit's vectors to other libraries; users import each by its name, lmkit imports none."""

import hashlib
import math
import os
import shutil
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from lmkit import run_paths, strict_json
from lmkit.errors import LmkitError
from lmkit.extras import needs as needs
from lmkit.manifest import check_files, read_manifest

if TYPE_CHECKING:
    from lmkit.api import Model

# No heavy imports above: spaCy imports its adapter, and so this file, at every start.

_owner = os.getpid()
"""The process that imported this file, or a fork that has been set up."""


def shared_model(run: str | Path, device: str = "auto") -> "Model":
    """The model of a run, loaded once per process for all adapters and copies of them.

    Adapters keep the run's path and call this when they need vectors, so that copying, pickling and sending them
    to other processes never copies weights. A run that was trained again is loaded again.
    Raises ModelError and PluginError as `lmkit.load` does.
    """
    if os.getpid() != _owner:
        _use_one_thread()
    directory = Path(run).resolve()
    manifest = directory / run_paths.MANIFEST
    return _load(directory, device, manifest.stat().st_mtime_ns if manifest.is_file() else 0)


def _use_one_thread() -> None:
    """In a fork, compute on one thread from now on: it lacks the OpenMP threads that torch may have used, and would
    wait for them forever (https://github.com/pytorch/pytorch/issues/17199).
    """
    import torch

    global _owner
    torch.set_num_threads(1)
    _owner = os.getpid()


@lru_cache(maxsize=4)
def _load(directory: Path, device: str, modified: int) -> "Model":
    """modified: the time of the run's manifest, so that a new run at the same path has another key."""
    from lmkit import api

    return api.load(directory, device=device)


def run_fingerprint(run: str | Path) -> str | None:
    """A hash of what decides a run's results: its parts and the SHA-256 of each of its files, without reading them.

    None if the path is not a run, which `shared_model` reports.
    """
    try:
        manifest = read_manifest(Path(run))
    except LmkitError:
        return None
    facts = {name: manifest.get(name) for name in ("model", "tokenizer", "vocabulary", "files")}
    return hashlib.sha256(strict_json.dumps(facts, sort_keys=True).encode()).hexdigest()


def copy_run(run: str | Path, out: Path) -> None:
    """Copy the model files of a run (no checkpoints or metrics) to `out`, atomically.

    An existing run in `out` is replaced. Raises ModelError when the run is damaged, UsageError when `out` is not
    a run.
    """
    from lmkit import runs  # imports torch

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
