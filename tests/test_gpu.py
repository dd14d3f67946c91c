"""lmkit on a GPU: the checks of benchmarks/gpu_check.py, and its rehearsal where there is none."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
CHECKS = (
    "scores",
    "losses",
    "resume",
    "waits",
    "feeds",
    "bad_step",
    "buffers",
    "layers",
    "loss_kernel",
    "cuda_graph",
    "tiers",
    "window_kernels",
    "commands",
)


@pytest.fixture
def gpu_check(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    for name in ("gpu_check", "gpu_timings", "recorded_calls", "cells", "launches"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module("gpu_check")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", CHECKS)
def test_on_a_gpu(name: str, gpu_check: ModuleType, tmp_path: Path) -> None:
    """Each check says in its docstring what holds."""
    from lmkit.devices import pick_device

    getattr(gpu_check, name)(gpu_check.Setting(pick_device("cuda"), tmp_path, full=True))


def test_the_rehearsal_runs_through(gpu_check: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    """The script is not first tried on a card: with tiny sizes on the CPU, every check passes and all is timed."""
    assert {check.__name__ for check in gpu_check.CHECKS} == set(CHECKS)
    assert gpu_check.main(["--rehearse", "--seconds", "10000"]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("| check", "| time"))]
    assert len(rows) == len(CHECKS) + 19
    assert not any("FAILED" in row or "skipped" in row for row in rows)


def test_a_failed_check_is_in_the_table(gpu_check: ModuleType, monkeypatch, capsys) -> None:
    """With its reason, beside the others; what no time is left for is named; the exit code is 1."""

    def failing(setting: object) -> str:
        """It fails."""
        raise AssertionError("too far off")

    monkeypatch.setattr(gpu_check, "CHECKS", (failing,))
    monkeypatch.setattr(gpu_check, "timings", lambda _: [("a time", lambda: "1 ms")])
    assert gpu_check.main(["--rehearse"]) == 1
    assert "| check | It fails. | FAILED: AssertionError: too far off |" in capsys.readouterr().out
    assert gpu_check.main(["--rehearse", "--seconds", "-1"]) == 0
    assert "| time | a time | skipped: no time left |" in capsys.readouterr().out
