"""`lmkit classify --resume`: a training that was stopped gives the classifier of one that was not."""

import json
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lmkit.classification.training import ClassifierTrainer
from lmkit.cli import cli
from lmkit.training import checkpoint

SMALL = ("--max-epochs", 4, "--batch-size", 16, "--learning-rate", 0.01, "--device", "cpu")
SCRATCH = ("--hidden-size", 6, "--min-count", 1, "--dropout", 0.2)
KINDS = {
    "scratch": (*SCRATCH, "--patience", 2),
    "both directions": (*SCRATCH, "--directions", "both", "--pool", "concat"),
    "encoder": (
        "--model", "elmo", "--hidden-size", 6, "--projection-size", 4, "--character-size", 4, "--min-count", 1,
        "--pool", "mean",
    ),
    "from a language model": ("--init-from", "RUN"),
    "frozen": ("--init-from", "RUN", "--unfreeze", "never"),
}  # fmt: skip
UPDATES_PER_EPOCH = 4
STOPS = (2, UPDATES_PER_EPOCH, 2 * UPDATES_PER_EPOCH + 3)
"""In the first epoch, at the beginning of the second, and at the end of the third."""


@pytest.fixture
def lmkit() -> Callable[..., Result]:
    """Run a command line."""
    return lambda *line: CliRunner().invoke(cli, [str(word) for word in line])


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A CSV file of sixty texts of two classes, of which some say nothing of their class."""
    chance = random.Random(5)
    rows = []
    for index in range(60):
        label, word = (("bad", "dull"), ("good", "fine"))[index % 2]
        words = [*chance.choices(["the", "a", "film", "was"], k=chance.randint(2, 6))]
        rows.append(" ".join([*words, word] if chance.random() < 0.8 else words) + f",{label}")
    path = tmp_path / "train.csv"
    path.write_text("\n".join(["text,label", *rows]), encoding="utf-8")
    return path


def stopped_at(monkeypatch: pytest.MonkeyPatch, update: int, how: Callable[[], None]) -> None:
    """Do something at the beginning of an update, counted from zero."""
    original = ClassifierTrainer._update  # pyright: ignore[reportPrivateUsage]

    def act(self: ClassifierTrainer, batch: list[int], epoch: int) -> float:
        if self.progress.updates == update:
            monkeypatch.setattr(ClassifierTrainer, "_update", original)
            how()
        return original(self, batch, epoch)

    monkeypatch.setattr(ClassifierTrainer, "_update", act)


def crash() -> None:
    raise RuntimeError("the machine stops here")


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def content(run: Path) -> dict[str, object]:
    """The files of a classifier by name, without the seconds, which no two trainings share."""
    found: dict[str, object] = {}
    for path in sorted(run.rglob("*")):
        name = path.relative_to(run).as_posix()
        if name == "metrics.jsonl":
            records = [json.loads(line) for line in path.read_text().splitlines()]
            found[name] = [{k: v for k, v in record.items() if k != "cpu_seconds"} for record in records]
        elif name == "lmkit.json":
            facts = json.loads(path.read_text())
            facts["training"].pop("cpu_seconds")
            found[name] = facts
        elif path.is_file() and name != ".lock":
            found[name] = path.read_bytes()
    return found


def line_of(table: Path, kind: str, trained: Path, out: Path) -> list[object]:
    options = [trained if option == "RUN" else option for option in KINDS[kind]]
    return ["classify", table, *SMALL, *options, "--out", out]


@pytest.mark.parametrize("kind", KINDS)
def test_a_crash_loses_nothing(
    kind: str, table: Path, trained: Path, tmp_path: Path, lmkit: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """After a crash in any epoch, or at the beginning of one, the resumed training has the same files to the bit."""
    whole = tmp_path / "whole"
    made = lmkit(*line_of(table, kind, trained, whole))
    assert made.exit_code == 0, made.output
    monkeypatch.setattr(checkpoint, "SECONDS", 0.0)
    for update in STOPS if kind == "scratch" else STOPS[-1:]:
        run = tmp_path / f"run-{update}"
        with monkeypatch.context() as patch:
            stopped_at(patch, update, crash)
            assert lmkit(*line_of(table, kind, trained, run)).exit_code == 1
        refused = lmkit("predict", run, table)
        assert (refused.exit_code, f"lmkit classify --resume {run}" in refused.output) == (4, True), (
            refused.output
        )
        resumed = lmkit("classify", "--resume", run)
        assert resumed.exit_code == 0, resumed.output
        assert content(run) == content(whole), update


@pytest.mark.parametrize("update", [1, 2 * UPDATES_PER_EPOCH + 1])
def test_ctrl_c_keeps_the_best_and_goes_on(
    update: int, table: Path, tmp_path: Path, lmkit: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C leaves the best classifier so far and a checkpoint; --resume ends as without the interruption."""
    whole, run = tmp_path / "whole", tmp_path / "run"
    assert lmkit(*line_of(table, "scratch", run, whole)).exit_code == 0
    stopped_at(monkeypatch, update, interrupt)
    stopped = lmkit(*line_of(table, "scratch", run, run))
    assert (stopped.exit_code, f"continue with lmkit classify --resume {run}" in stopped.output) == (
        130,
        True,
    )
    assert lmkit("predict", run, table).exit_code == 0
    resumed = lmkit("classify", "--resume", run, "--json")
    assert resumed.exit_code == 0, resumed.output
    assert json.loads(resumed.stdout)["epochs"] == content(whole)["lmkit.json"]["training"]["epochs"]  # pyright: ignore
    assert content(run) == content(whole)
    again = lmkit("classify", "--resume", run)
    assert (again.exit_code, "its training is finished" in again.output) == (5, True), again.output


def test_what_cannot_be_resumed(
    table: Path, tmp_path: Path, lmkit: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other texts, other options and a damaged state are refused in one line; `train --resume` names the command."""
    run = tmp_path / "run"
    stopped_at(monkeypatch, 6, interrupt)
    assert lmkit(*line_of(table, "scratch", run, run)).exit_code == 130
    for option, said in (
        (("--seed", 3), "leave all but"),
        (("--model", "lstm"), "leave all but"),
        ((table,), "leave"),
    ):
        refused = lmkit("classify", "--resume", run, *option)
        assert (refused.exit_code, said in refused.output) == (2, True), refused.output
    refused = lmkit("classify", "--resume", tmp_path / "none")
    assert (refused.exit_code, "it does not exist" in refused.output) == (5, True), refused.output
    refused = lmkit("train", "--resume", run)
    assert (refused.exit_code, "lmkit classify --resume" in refused.output) == (5, True), refused.output
    kept = table.read_text(encoding="utf-8")
    table.write_text(kept.replace("dull", "fine", 1), encoding="utf-8")
    refused = lmkit("classify", "--resume", run)
    assert (refused.exit_code, "not the same texts" in refused.output) == (5, True), refused.output
    table.write_text(kept, encoding="utf-8")

    (folder,) = (run / "checkpoints").glob("step-*")
    state = json.loads((folder / "state.json").read_text())
    for name, value in (("progress", {"updates": -1}), ("best", [1]), ("texts", {}), ("history", 3)):
        (folder / "state.json").write_text(json.dumps({**state, name: value}))
        (folder / "manifest.json").write_text(
            json.dumps(
                {
                    path.name: checkpoint.sha256(path)
                    for path in folder.iterdir()
                    if path.name != "manifest.json"
                }
            )
        )
        refused = lmkit("classify", "--resume", run)
        assert (refused.exit_code, refused.output.count("\n"), "damaged" in refused.output) == (5, 1, True), (
            name, refused.output,
        )  # fmt: skip
    (folder / "state.json").write_text("{")
    refused = lmkit("classify", "--resume", run)
    assert (refused.exit_code, "every checkpoint is damaged" in refused.output) == (5, True), refused.output
    assert lmkit(*line_of(table, "scratch", run, run), "--overwrite").exit_code == 0
