"""`lmkit train` under torchrun: signals, restarts, and what is refused."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lmkit import launch as launch_variables
from lmkit.cli import cli
from lmkit.cli.train import began_before
from lmkit.run_paths import METRICS

SECONDS = 60
RUN = [
    *("--model", "gru", "--hidden-size", "8", "--tokenizer", "word", "--batch-size", "4", "--bptt", "5"),
    *(
        "--max-steps",
        "200",
        "--save-every",
        "10",
        "--dropout",
        "0.3",
        "--clip-norm",
        "0.05",
        "--log-every",
        "1",
    ),
]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("".join(f"the {a} saw {b} cats\n" for a in ("dog", "cow") for b in range(60)) * 5)
    return path


Launch = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    """Starts torchrun with two processes; they are killed at the end."""
    begun: list[subprocess.Popen[str]] = []

    def start(text: Path, out: Path, *options: str) -> "subprocess.Popen[str]":
        command = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--nproc-per-node",
            "2",
            *options,
            "-m",
            "lmkit",
        ]
        command += ["train", str(text), "--out", str(out), *RUN]
        found = subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        begun.append(found)
        return found

    yield start
    for process in begun:
        if process.poll() is None:
            for pid in [*workers(process), process.pid]:
                os.kill(pid, signal.SIGKILL)
            process.wait(SECONDS)


def workers(launcher: "subprocess.Popen[str]") -> list[int]:
    """The processes that a launcher started, by rank."""
    found = {}
    for children in Path(f"/proc/{launcher.pid}/task").glob("*/children"):
        for pid in children.read_text().split():
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            found |= {int(entry[5:]): int(pid) for entry in environment if entry.startswith(b"RANK=")}
    return [found[rank] for rank in sorted(found)]


def wait_for_steps(out: Path, steps: int) -> None:
    """Wait until a run has reported a number of steps."""
    end = time.monotonic() + SECONDS
    while not (out / METRICS).exists() or (out / METRICS).read_text().count("\n") < steps:
        assert time.monotonic() < end
        time.sleep(0.02)


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model.safetensors")


@pytest.mark.slow
def test_a_killed_worker_is_started_again(launch, text, tmp_path):
    """torchrun restarts a training after SIGKILL; it goes on from its checkpoint and ends with the same weights."""
    whole = launch(text, tmp_path / "whole")
    output = whole.communicate(timeout=SECONDS)[0]
    assert whole.returncode == 0, output
    killed = launch(text, tmp_path / "killed", "--max-restarts", "1")
    wait_for_steps(tmp_path / "killed", 25)
    os.kill(workers(killed)[1], signal.SIGKILL)
    output = killed.communicate(timeout=2 * SECONDS)[0]
    assert killed.returncode == 0, output
    assert "at step" in output
    assert not [
        name
        for name, w in weights(tmp_path / "whole").items()
        if not w.equal(weights(tmp_path / "killed")[name])
    ]


@pytest.mark.slow
def test_without_restarts_left_all_end(launch, text, tmp_path):
    """If a worker is killed and no restart is left, torchrun and the other worker end with an error, in a minute."""
    killed = launch(text, tmp_path / "run")
    wait_for_steps(tmp_path / "run", 5)
    os.kill(workers(killed)[0], signal.SIGKILL)
    output = killed.communicate(timeout=SECONDS)[0]
    assert killed.returncode not in (0, None), output


@pytest.mark.slow
def test_sigterm_stops_all_at_one_step(launch, text, tmp_path):
    """SIGTERM to one worker stops all after the same step, saved, with exit code 143; one process can go on."""
    run = launch(text, tmp_path / "run")
    wait_for_steps(tmp_path / "run", 5)
    os.kill(workers(run)[1], signal.SIGTERM)
    output = run.communicate(timeout=SECONDS)[0]
    assert run.returncode not in (0, None)
    assert output.count("everything is saved") == 1
    assert "exitcode  : 143" in output
    with pytest.raises(SystemExit) as exit:
        cli.main(["train", "--resume", str(tmp_path / "run"), "--max-steps", "60"])
    assert exit.value.code == 0


def test_what_processes_cannot_share_is_refused(monkeypatch, capsys, text, tmp_path):
    """A batch that does not divide, a counting model and other commands end at once, with exit code 2 and one line."""
    cases = {
        "a multiple of 2": ["train", str(text), "--batch-size", "5", "--out", str(tmp_path / "run")],
        "without torchrun": ["train", str(text), "--model", "ngram", "--out", str(tmp_path / "run")],
        "start lmkit eval without it": ["eval", "run", str(text)],
        "--out DIR": ["train", str(text)],
    }
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "1")
    for rank, lines in (("0", 1), ("1", 0)):
        monkeypatch.setenv("RANK", rank)
        for part, line in cases.items():
            with pytest.raises(SystemExit) as end:
                cli.main(line)
            error = capsys.readouterr().err
            assert end.value.code == 2
            assert error.count("\n") == lines
            assert (part in error) == (rank == "0")
    assert not (tmp_path / "run").exists()


def test_only_a_run_that_this_launch_began_is_continued(monkeypatch, tmp_path):
    """A restart finds its own run in --out by a mark; a run of another launch there is not touched."""
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "1")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "first")
    assert not began_before(tmp_path)
    launch_variables.mark(tmp_path)
    assert began_before(tmp_path)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "second")
    assert not began_before(tmp_path)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "first")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    assert not began_before(tmp_path)
