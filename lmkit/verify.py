"""Compare every file of a run with the SHA-256 that was saved with it, whatever its size."""

import math
from dataclasses import dataclass
from pathlib import Path

from lmkit import run_paths
from lmkit.errors import reason_of
from lmkit.manifest import problems, read_manifest
from lmkit.training.checkpoint import DAMAGE, check_digests


@dataclass(frozen=True)
class Verified:
    """files, bytes: of the model and its checkpoints. problems: a message for each file that is not as it was saved."""

    files: int
    bytes: int
    problems: list[str]


def verify(run: Path) -> Verified:
    """Read a run completely; ModelError if it is not a run, or its list of files is damaged."""
    manifest = read_manifest(run)
    found = list(problems(run, manifest, math.inf))
    files = [run / name for name in manifest["files"]]
    for folder in sorted((run / run_paths.CHECKPOINTS).glob("step-*")):
        try:
            files += check_digests(folder)
        except DAMAGE as error:
            found.append(f"{folder}: {reason_of(error) if isinstance(error, OSError) else error}")
    there = [path for path in files if path.is_file()]
    return Verified(len(there), sum(path.stat().st_size for path in there), found)
