"""Every reader of files that nobody vouches for, fed with damaged copies of sound ones."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz import TARGETS

SCRIPT = Path(__file__).with_name("fuzz.py")
SEED = 1
CASES = 350
"""Mutations of each target, the same in every run."""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory as Linux has them")
@pytest.mark.parametrize("name", TARGETS)
def test_damaged_files_are_errors_of_ours(name: str, tmp_path: Path) -> None:
    """A damaged file is read, or refused with the exit code of its kind: no other exception, signal or gigabyte."""
    line = [sys.executable, str(SCRIPT), str(SEED), str(CASES), str(tmp_path), name]
    result = subprocess.run(line, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"exit {result.returncode}, see {tmp_path}: {result.stderr[-2000:]}"
    found = json.loads(result.stdout)
    assert sum(count for kind, count in found.items() if kind != "target") == CASES
