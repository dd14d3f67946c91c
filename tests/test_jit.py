"""Kernels: where they are kept, and what a first run says."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

KERNEL = '''"""A kernel."""
from lmkit.jit import kernel

@kernel
def double(x: int) -> int:
    return 2 * x
'''
CODE = """
import logging, sys
logging.basicConfig(level=logging.INFO)
sys.path.insert(0, ".")
from pack.kernels import double
print(double(21))
"""


def run(folder: Path, **environment: str) -> tuple[str, str]:
    """The output and the messages of a process that uses the package in `folder`."""
    result = subprocess.run(
        [sys.executable, "-c", CODE], cwd=folder, capture_output=True, text=True, check=True,
        env={**os.environ, **environment},
    )  # fmt: skip
    return result.stdout.strip(), result.stderr


@pytest.fixture
def package(tmp_path):
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").touch()
    (tmp_path / "pack" / "kernels.py").write_text(KERNEL)
    return tmp_path


def test_the_first_run_says_what_it_waits_for_and_the_second_has_it(package):
    """What was compiled is kept in the user's cache folder, not beside the package, which may be read-only."""
    cache = package / "cache"
    places = {"XDG_CACHE_HOME": str(cache), "NUMBA_CACHE_DIR": ""}
    (package / "pack").chmod(0o555)
    output, said = run(package, **places)
    assert output == "42"
    assert said.count("compiling kernels") == 1
    assert str(cache) in said
    assert run(package, **places) == ("42", "")
    assert not list((package / "pack").rglob("*.nbi"))


def test_a_changed_kernel_is_compiled_again(package):
    """Also one in another file of the package, which numba would not see."""
    places = {"NUMBA_CACHE_DIR": str(package / "cache")}
    run(package, **places)
    (package / "pack" / "other.py").write_text('"""Another."""\nfrom lmkit.jit import kernel\n')
    assert "compiling kernels" in run(package, **places)[1]


def test_without_a_place_to_keep_kernels(package):
    """Nothing writable: they are compiled in every run, which says so and names the remedy."""
    (package / "file").touch()
    output, said = run(package, NUMBA_CACHE_DIR=str(package / "file" / "cache"))
    assert output == "42"
    assert "set NUMBA_CACHE_DIR" in said
