"""metrics.jsonl: complete lines, and the cut before a resumed run writes on."""

import json
import math
from pathlib import Path

from lmkit.training.metrics import Metrics


def test_every_line_is_complete_at_once(tmp_path: Path) -> None:
    """After each record the file ends with a whole line of JSON, and its size is the number of bytes in it."""
    metrics = Metrics(tmp_path / "metrics.jsonl")
    assert metrics.size == 0
    for step in range(3):
        metrics.write(step=step, text="é")
        data = (tmp_path / "metrics.jsonl").read_bytes()
        assert data.endswith(b"\n")
        assert metrics.size == len(data)
        assert [json.loads(line)["step"] for line in data.splitlines()] == list(range(step + 1))


def test_cut_and_write_again(tmp_path: Path) -> None:
    """After the cut to an earlier size, the same records give the same bytes."""
    metrics = Metrics(tmp_path / "metrics.jsonl")
    metrics.write(step=1)
    size = metrics.size
    metrics.write(step=2, loss=0.5)
    whole = metrics.path.read_bytes()
    with metrics.path.open("ab") as file:
        file.write(b'{"step": 3, "lo')
    metrics.cut(size)
    metrics.write(step=2, loss=0.5)
    assert metrics.path.read_bytes() == whole


def test_a_cut_never_lengthens(tmp_path: Path) -> None:
    """A file that is shorter, or missing, stays so: no zero bytes are added."""
    metrics = Metrics(tmp_path / "metrics.jsonl")
    metrics.cut(100)
    assert not metrics.path.exists()
    metrics.write(step=1)
    size = metrics.size
    metrics.cut(size + 100)
    assert metrics.size == size


def test_numbers_that_json_lacks(tmp_path: Path) -> None:
    """An infinite loss is null with the reason, so that the line stays valid JSON."""
    metrics = Metrics(tmp_path / "metrics.jsonl")
    metrics.write(step=1, loss=math.inf)
    (line,) = metrics.path.read_text(encoding="utf-8").splitlines()
    record = json.loads(line, parse_constant=lambda name: f"invalid {name}")
    assert record["loss"] is None
    assert "infinite" in record["withheld"]["loss"]
