"""TensorBoard, Weights & Biases and trackio: what the built-in loggers write is read back by these libraries."""

import contextlib
import json
import os
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import lmkit
from lmkit.testing import checks

pytestmark = pytest.mark.pipelines

BLOCK, FULL, LAST = 32768, 1, 4
OPTIONS: dict[str, Any] = {
    "model": "gru", "hidden_size": 8, "tokenizer": "char", "batch_size": 2, "bptt": 8, "max_steps": 6,
    "valid_every": 2, "log_every": 1, "save_every": 2, "threads": 1,
}  # fmt: skip
TEXT = "the cat sat on the mat\na bird sang by the house\n" * 12


def interrupted_run(folder: Path, log_to: str) -> Path:
    """A run that was killed after step 5 with a checkpoint of step 4, and was resumed."""
    text, run = folder / "text.txt", folder / "run"
    text.write_text(TEXT, encoding="utf-8")
    lmkit.train(text, valid=text, out=run, log_to=log_to, stop_after=5, **OPTIONS)
    newest = max((run / "checkpoints").glob("step-*"))
    assert newest.name.endswith("5")
    for path in newest.iterdir():
        path.unlink()
    newest.rmdir()
    lmkit.resume(run)
    return run


def metrics(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_tensorboard_shows_the_figures(tmp_path: Path) -> None:
    """Each figure of metrics.jsonl is a scalar of its name, once for each step, also after a kill."""
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = interrupted_run(tmp_path, "tensorboard")
    assert len(list((run / "logs" / "tensorboard").iterdir())) == 2
    found = events.EventAccumulator(str(run / "logs" / "tensorboard"))
    found.Reload()
    records = metrics(run)
    names = {name for record in records for name in record} - {"step"}
    assert set(found.Tags()["scalars"]) == names
    for name in names:
        scalars = [(one.step, one.value) for one in found.Scalars(name)]
        wanted = [(record["step"], record[name]) for record in records if name in record]
        assert [step for step, _ in scalars] == [step for step, _ in wanted]
        assert [value for _, value in scalars] == pytest.approx([float(value) for _, value in wanted])


def test_trackio_has_the_figures(tmp_path: Path) -> None:
    """On this machine, in one run: the figures of every record, also after a resumption."""
    pytest.importorskip("trackio")
    # trackio reads its variables when it is imported.
    environment = {**os.environ, "TRACKIO_DIR": str(tmp_path / "trackio"), "TRACKIO_PROJECT": "tests"}
    text, run = tmp_path / "text.txt", tmp_path / "run"
    text.write_text(TEXT, encoding="utf-8")
    flags = [word for name, value in OPTIONS.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    line = [
        str(text),
        "--valid",
        str(text),
        *flags,
        "--log-to",
        "trackio",
        "--out",
        str(run),
        "--stop-after",
        "3",
    ]
    for arguments in (line, ["--resume", str(run)]):
        command = [sys.executable, "-m", "lmkit", "train", *arguments, "--json"]
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert json.loads(result.stdout)["run"] == str(run)  # what trackio prints goes to stderr
    with contextlib.closing(sqlite3.connect(tmp_path / "trackio" / "tests.db")) as database:
        rows = database.execute("select run_name, step, metrics from metrics order by id").fetchall()
    assert {name for name, _, _ in rows} == {(run / "logs" / "trackio" / "name.txt").read_text()}
    assert [{"step": step, **json.loads(figures)} for _, step, figures in rows] == metrics(run)


@pytest.mark.parametrize("check", checks("lmkit:tensorboard"), ids=str)
def test_conformance(check: Callable[[], None]) -> None:
    """The logger `tensorboard` keeps the rules for loggers."""
    pytest.importorskip("tensorboard")
    check()


def test_wandb_has_the_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline, in files of one run: the recipe, and the figures of every step, also after a resumption."""
    wandb = pytest.importorskip("wandb")
    monkeypatch.chdir(tmp_path)
    for name, value in {"WANDB_MODE": "offline", "WANDB_SILENT": "true"}.items():
        monkeypatch.setenv(name, value)
    run = interrupted_run(tmp_path, "wandb")
    name = (run / "logs" / "wandb" / "id.txt").read_text()
    files = sorted((tmp_path / "wandb").glob("offline-run-*/*.wandb"))
    assert [path.name for path in files] == [f"run-{name}.wandb"] * 2
    found: dict[int, dict[str, Any]] = {}
    for path in files:
        for step, figures in history(path):
            found.setdefault(step, {}).update(figures)
    assert wandb.run is None
    wanted: dict[int, dict[str, Any]] = {}
    for record in metrics(run):
        wanted.setdefault(record["step"], {}).update(record)
    assert found.keys() == wanted.keys()
    for step, record in wanted.items():
        assert found[step]["loss"] == record["loss"]
        assert found[step].get("valid_loss") == record.get("valid_loss")


def history(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """The steps and figures of a file of wandb."""
    from wandb.proto import wandb_internal_pb2

    found = []
    for data in chunks(path.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        if record.WhichOneof("record_type") == "history":
            items = {item.key or item.nested_key[0]: item.value_json for item in record.history.item}
            found.append(
                (record.history.step.num, {name: json.loads(value) for name, value in items.items()})
            )
    return found


def chunks(data: bytes) -> Iterator[bytes]:
    """The records of such a file: LevelDB's log format, with blocks of 32 KiB, after a header of 7 bytes."""
    place, record = 7, b""
    while place + 7 <= len(data):
        if BLOCK - place % BLOCK < 7:
            place += BLOCK - place % BLOCK
            continue
        length, kind = struct.unpack("<HB", data[place + 4 : place + 7])
        record += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (FULL, LAST):
            yield record
            record = b""
