"""The directory of a run in training: reserved before the work, locked during it, and never left incomplete."""

import contextlib
import itertools
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from lmkit import run_paths, runs
from lmkit.errors import CheckpointError, ModelError
from lmkit.files import writing
from lmkit.notes import NOTE
from lmkit.options import Chosen

log = logging.getLogger(__name__)


@contextlib.contextmanager
def workplace(out: Path | None, model: Chosen, *, overwrite: bool) -> Iterator[Path]:
    """The directory of a new run: `out`, or the next free one under `runs/`.

    With overwrite, an older run stays until the caller clears it (`runs.clear`). When the work fails before there
    is a model or a checkpoint, the directory is removed. Raises UsageError when the directory is
    taken, CheckpointError when another process trains in it. What a killed training left before it saved anything
    does not count: the directory is free.
    """
    if out is None:
        directory, made, begun = _claimed(model), True, False
    else:
        begun = run_paths.is_only_begun(out)
        runs.check_free(out, overwrite=overwrite or begun)
        directory, made = out, not out.exists()
        with writing(directory):
            directory.mkdir(parents=True, exist_ok=True)
    with run_lock(directory), writing(directory):
        if begun:
            log.log(
                NOTE, "%s: a training was stopped here before it saved anything; it begins again", directory
            )
        try:
            yield directory
        except BaseException:
            if not run_paths.is_run(directory) and not any(directory.glob(f"{run_paths.CHECKPOINTS}/step-*")):
                runs.clear(directory)
                if made:
                    shutil.rmtree(directory, ignore_errors=True)
            raise


def _claimed(model: Chosen) -> Path:
    """Create a directory `runs/NAME`, numbered if it exists: `runs/gru`, `runs/gru-2` ..."""
    cell = getattr(model.options, "cell", None)
    cells = [one for one in (cell if isinstance(cell, tuple) else (cell,)) if isinstance(one, Chosen)]
    name = "-".join(chosen.name.rpartition(":")[2] for chosen in cells or [model])
    for number in itertools.count(1):
        path = Path("runs") / (name if number == 1 else f"{name}-{number}")
        _remove_abandoned(path)
        # Created now, so that another process takes the next number.
        with contextlib.suppress(FileExistsError):
            path.mkdir(parents=True)
            return path
    raise AssertionError("counting does not end")


def _remove_abandoned(directory: Path) -> None:
    """Remove what a killed training left before it saved anything: parts of a model may take much space."""
    if not run_paths.is_only_begun(directory):
        return
    with contextlib.suppress(CheckpointError, ModelError), run_lock(directory):
        if run_paths.is_only_begun(directory):  # and no other process has removed it
            shutil.rmtree(directory)
            log.log(
                NOTE, "%s: removed, since a training was stopped here before it saved anything", directory
            )


@contextlib.contextmanager
def run_lock(directory: Path) -> Iterator[None]:
    """Hold a run's directory for this process.

    Raises CheckpointError when another one trains in it, ModelError when it contains a symbolic link.
    """
    run_paths.refuse_links(directory)
    lock = FileLock(directory / runs.LOCK, timeout=0)
    try:
        with writing(directory):
            lock.acquire()
    except Timeout:
        raise CheckpointError(
            f"{directory}: another process is training in it; wait for it or give another --out"
        ) from None
    try:
        yield
    finally:
        lock.release()
