"""Loggers: they get the records of metrics.jsonl, change nothing, and may fail."""

import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest
from click.testing import CliRunner
from safetensors.torch import load_file

import lmkit
from lmkit import LoggerSpec, hookimpl, plugins
from lmkit.cli import cli
from lmkit.contracts import Logger
from lmkit.errors import UsageError

OPTIONS: dict[str, Any] = {
    "model": "gru", "hidden_size": 8, "tokenizer": "char", "batch_size": 2, "bptt": 8, "max_steps": 6,
    "valid_every": 2, "log_every": 1, "save_every": 2, "threads": 1,
}  # fmt: skip
TEXT = "the cat sat on the mat\na bird sang by the house\n" * 12


class Collected(Logger):
    """Keeps its records, those of all loggers in order."""

    records: ClassVar[list[dict[str, Any]]] = []
    opened: ClassVar[list[tuple[str, str, dict[str, Any]]]] = []
    closed: ClassVar[int] = 0

    def __init__(self, folder, name, settings):
        super().__init__(folder, name, settings)
        assert folder.is_dir()
        self.opened.append((folder.name, name, settings))

    def log(self, step, figures):
        self.records.append({"step": step, **figures})

    def close(self):
        Collected.closed += 1


class FailsToOpen(Collected):
    def __init__(self, folder, name, settings):
        raise OSError("no such server")


class FailsToLog(Collected):
    def log(self, step, figures):
        if step == 3:
            raise OSError("the server is gone")


class FailsToClose(Collected):
    def log(self, step, figures):
        pass

    def close(self):
        raise OSError("the server is gone")


CLASSES = (Collected, FailsToOpen, FailsToLog, FailsToClose)


class Acme:
    @hookimpl
    def lmkit_loggers(self) -> list[LoggerSpec]:
        return [LoggerSpec(one.__name__.lower(), f"acme_loggers:{one.__name__}") for one in CLASSES]


@pytest.fixture(autouse=True)
def acme(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A distribution `acme` with the classes above."""
    module = ModuleType("acme_loggers")
    vars(module).update({one.__name__: one for one in CLASSES})
    monkeypatch.setitem(sys.modules, "acme_loggers", module)
    own = plugins.installed(third_party=False)
    monkeypatch.setattr(
        plugins, "installed", lambda **_: [*own, plugins.Plugin("acme", "acme", "1.0", lambda: Acme())]
    )
    plugins.registry.cache_clear()
    Collected.records.clear()
    Collected.opened.clear()
    Collected.closed = 0
    yield
    plugins.registry.cache_clear()


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


def train(text: Path, out: str, **options: Any) -> Path:
    run = text.parent / out
    lmkit.train(text, valid=text, out=run, **{**OPTIONS, **options})
    return run


def resume(run: Path, *flags: str) -> None:
    result = CliRunner().invoke(cli, ["train", "--resume", str(run), *flags])
    assert result.exit_code == 0, result.output


def metrics(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def assert_same_weights(one: Path, other: Path) -> None:
    ours, theirs = (load_file(run / "model.safetensors") for run in (one, other))
    assert all(tensor.equal(theirs[name]) for name, tensor in ours.items())


def test_a_logger_gets_the_records_of_metrics(text: Path) -> None:
    """The same records in the same order, in the run's own folder, and the same weights as without a logger."""
    run = train(text, "logged", log_to="collected")
    assert Collected.records == metrics(run)
    assert len(Collected.records) == 9
    ((folder, name, settings),) = Collected.opened
    assert (folder, name) == ("acme-collected", "logged")
    assert settings["train"]["max_steps"] == 6
    assert Collected.closed == 1
    assert_same_weights(run, train(text, "plain"))


def test_a_resumed_training_logs_what_follows_its_checkpoint(text: Path) -> None:
    """The records of both parts are those of metrics.jsonl; each part opens and closes the logger."""
    run = train(text, "run", log_to=("collected",), stop_after=3)
    lmkit.resume(run)
    assert Collected.records == metrics(run)
    assert Collected.records[-1]["step"] == 6
    assert len(Collected.opened) == Collected.closed == 2


def test_a_resumed_training_may_have_other_loggers(text: Path) -> None:
    """Loggers change no result, so `log_to` may differ; "none" takes them away."""
    run = train(text, "run", stop_after=2)
    resume(run, "--log-to", "collected", "--stop-after", "4")
    assert {record["step"] for record in Collected.records} == {3, 4}
    resume(run, "--log-to", "none")
    assert len(Collected.opened) == 1
    assert_same_weights(run, train(text, "plain"))


@pytest.mark.parametrize(
    ("name", "when"),
    [
        ("failstoopen", "when it was opened"),
        ("failstolog", "at step 3"),
        ("failstoclose", "when it was closed"),
    ],
)
def test_a_logger_that_fails_is_dropped(
    text: Path, name: str, when: str, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning names it and the reason; the training, metrics.jsonl and other loggers go on."""
    run = train(text, "run", log_to=[name, "collected"])
    (warning,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert f"'acme:{name}' (acme 1.0) failed {when}" in warning.getMessage()
    assert "server" in warning.getMessage()
    assert Collected.records == metrics(run)
    assert_same_weights(run, train(text, "plain"))


def test_a_training_that_diverges_closes_its_loggers(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the training ends with an error."""

    def fails(*_: object) -> None:
        raise UsageError("an error in training")

    monkeypatch.setattr("lmkit.training.loop.Trainer._validate", fails)
    with pytest.raises(UsageError, match="an error in training"):
        train(text, "run", log_to="collected")
    assert Collected.closed == 1


@pytest.mark.parametrize(
    ("log_to", "said"),
    [
        ("tensorbord", "did you mean 'tensorboard'"),
        (
            "collected,tensorboard",
            r"library tensorboard, which is not installed: pip install '.*\[tensorboard\]'",
        ),
        ("wandb", r"library wandb, which is not installed: pip install '.*\[wandb\]'"),
        ("trackio", r"library trackio, which is not installed: pip install '.*\[trackio\]'"),
    ],
)
def test_what_is_missing_is_an_error_before_the_training(
    text: Path, log_to: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unknown name, or a missing library with the command that installs it; no run is left behind."""
    for library in ("tensorboard", "wandb", "trackio"):
        monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(UsageError, match=said):
        train(text, "run", log_to=log_to)
    assert not (text.parent / "run").exists()
    assert not Collected.opened


def test_counting_models_have_no_loggers(text: Path, caplog: pytest.LogCaptureFixture) -> None:
    """They are not trained in steps; a warning says that the option has no effect."""
    lmkit.train(text, model="ngram", order=2, tokenizer="word", out=text.parent / "run", log_to="collected")
    assert "these options have no effect: log_to" in caplog.text
    assert not Collected.opened


def test_two_names_of_one_logger_are_one(text: Path) -> None:
    """A bare and a long name."""
    train(text, "run", log_to="collected,acme:collected", max_steps=1)
    assert len(Collected.opened) == 1
