"""Runs inside a run."""

import shutil
from pathlib import Path

from lmkit import runs

PARTS = "parts"


def copy_run(part: runs.LoadedRun, target: Path) -> None:
    """Copy the files of a run's model to a folder."""
    for name in runs.travelling(part.directory, part.manifest):
        copy = target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(part.directory / name, copy)
