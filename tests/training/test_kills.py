"""SIGKILL at random moments: every kind of training resumes and ends with the bits of an uninterrupted run."""

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

COMMAND = [sys.executable, "-c", "from lmkit.cli import main; main()"]
COMMON = (
    "--tokenizer word --min-count 1 --hidden-size 8 --batch-size 3 --bptt 5 --max-steps 400 --valid-every 40 "
    "--save-every 15 --log-every 1 --threads 1"
)
KINDS = {
    "gru": "--model gru --dropout 0.2",
    "sampled": "--model lstm --output sampled --samples 9",
    "plateau": "--model rnn --optimizer sgd --lr 1 --schedule plateau",
    "averaged": "--model lstm --weight-drop 0.3 --average 0.9 --vary-bptt",
    "asgd": "--model lstm --optimizer sgd --lr 1 --schedule constant --asgd-trigger 2",
    "reset": "--model gru --num-layers 2 --reset line --locked --dropout 0.2",
    "mixture": "--model lstm --output mixture --experts 2 --schedule one-cycle",
    "window": "--model window",
    "elmo": "--model elmo --projection-size 6",
}
KILLS = 5


def launch(*line: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*COMMAND, "train", *line], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(*line: str) -> None:
    process = launch(*line)
    _, messages = process.communicate(timeout=300)
    assert process.returncode == 0, messages


def logged(run: Path) -> int:
    """Return the size of the run's log in bytes; it grows with every step."""
    log = run / "metrics.jsonl"
    return log.stat().st_size if log.exists() else 0


def kill(process: "subprocess.Popen[str]", run: Path, delay: float) -> bool:
    """Kill it `delay` seconds after its first checkpoint or step; return whether it was still running."""
    before = logged(run)
    deadline = time.monotonic() + 120
    while process.poll() is None and (logged(run) <= before or not any((run / "checkpoints").glob("step-*"))):
        assert time.monotonic() < deadline, "no step in two minutes"
        time.sleep(0.01)
    time.sleep(delay)
    process.kill()
    process.communicate()
    return process.returncode < 0


def weights(run: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of the best weights and of the last checkpoint."""
    files = [run / "model.safetensors", *max((run / "checkpoints").glob("step-*")).glob("*.safetensors")]
    return {f"{path.name}: {name}": tensor for path in files for name, tensor in load_file(path).items()}


def losses(run: Path) -> list[tuple[str, object]]:
    """Return every number of the log that is no time."""
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    clocks = ("seconds", "cpu_seconds", "tokens_per_second")
    return [pair for record in records for pair in record.items() if pair[0] not in clocks]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_kills_at_random_moments_change_no_bit(tmp_path: Path, kind: str) -> None:
    """The moments fall into steps, validations and saves; weights, optimiser's state and log stay the same bits."""
    text = tmp_path / "text.txt"
    words = [
        f"the {a} {b} the {c}"
        for a in ("cat", "dog", "cow")
        for b in ("sat on", "saw")
        for c in ("mat", "log")
    ]
    text.write_text("\n".join(words * 8) + "\n", encoding="utf-8")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    line = [str(text), *COMMON.split(), *KINDS[kind].split(), "--out"]
    finish(*line, str(whole))
    chance = random.Random(f"kills {kind}")
    killed = kill(launch(*line, str(parts)), parts, chance.uniform(0.0, 0.3))
    for _ in range(KILLS - 1):
        killed += kill(launch("--resume", str(parts)), parts, chance.uniform(0.0, 0.3))
    finish("--resume", str(parts))
    ours, theirs = weights(parts), weights(whole)
    assert ours.keys() == theirs.keys()
    assert not [name for name in ours if not torch.equal(ours[name], theirs[name])]
    assert losses(parts) == losses(whole)
    print(f"{kind}: {killed} kills")
