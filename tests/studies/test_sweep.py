"""Sweeps with optuna: trials are runs, and a sweep ends in the same way however often it is interrupted."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import lmkit
from lmkit.cli import cli
from lmkit.errors import CheckpointError, UsageError
from lmkit.recipe import build, read_recipe
from lmkit.studies import sweep as module
from lmkit.studies.sweep import Sweep
from lmkit.training.loop import DivergedError
from lmkit.training.report import Silent
from lmkit.training.signals import Interrupted

pytestmark = pytest.mark.pipelines
pytest.importorskip("optuna")

RECIPE = """
[tokenizer]
name = "word"
min_count = 1

[train]
max_steps = 4
batch_size = 2
bptt = 8
device = "cpu"

[model]
hidden_size = 4

[sweep]
train.learning_rate = { low = 0.001, high = 0.02, log = true }
model.cell.name = ["gru", "rnn"]
model.num_layers = { low = 1, high = 2 }
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text and a recipe with ranges."""
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "text.txt").write_text("the cat sat on the mat\na dog sat\n" * 20, encoding="utf-8")
    (folder / "r.toml").write_text(RECIPE, encoding="utf-8")
    return folder


def run(folder: Path, out: str, *, trials: int = 3, **more: Any) -> Sweep:
    text = folder / "text.txt"
    return lmkit.sweep(folder / "r.toml", text, valid=text, trials=trials, out=folder / out, **more)


@pytest.fixture(scope="module")
def whole(folder: Path) -> Sweep:
    return run(folder, "whole")


def outcome(found: Sweep) -> list[tuple[Any, ...]]:
    return [(trial.trial, trial.settings, trial.valid_loss, trial.problem) for trial in found.trials]


def test_each_trial_is_a_run(folder: Path, whole: Sweep) -> None:
    """The best comes first; each run's recipe has the trial's values, and repeats it."""
    assert [trial.trial for trial in sorted(whole.trials, key=lambda trial: trial.trial)] == [0, 1, 2]
    losses = [trial.valid_loss for trial in whole.trials if trial.valid_loss is not None]
    assert losses == sorted(losses)
    assert len(losses) == 3
    for trial in whole.trials:
        tables = read_recipe(Path(trial.run, "recipe.toml"))
        assert tables["train"]["learning_rate"] == trial.settings["train.learning_rate"]
        assert tables["model"]["cell"]["name"] == f"lmkit:{trial.settings['model.cell.name']}"
        assert tables["model"]["num_layers"] == trial.settings["model.num_layers"]
    assert whole.best is not None
    again = lmkit.train(recipe=Path(whole.best.run, "recipe.toml"), out=folder / "again")
    assert again.run.manifest["training"]["valid_loss"] == whole.best.valid_loss


class Stopping(Silent):
    """Stops the second trial: before its training, or by a signal in its second step."""

    def __init__(self, by_signal: bool) -> None:
        self.by_signal = by_signal
        self.trial = -1

    def message(self, text: str) -> None:
        if "train.learning_rate" in text:
            self.trial += 1
            if self.trial == 1 and not self.by_signal:
                raise KeyboardInterrupt

    def step(self, step: int, **figures: float | str | None) -> None:
        if self.trial == 1 and step == 2:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("by_signal", [False, True])
def test_an_interrupted_sweep_ends_like_an_uninterrupted_one(
    folder: Path, whole: Sweep, by_signal: bool
) -> None:
    """Finished trials are kept, the interrupted one is continued, and the rest draws the same values."""
    out = f"stopped-{by_signal}"
    with pytest.raises(Interrupted if by_signal else KeyboardInterrupt) as stop:
        run(folder, out, reporter=Stopping(by_signal))
    if by_signal:
        assert "the same command continues the sweep" in str(stop.value)
        assert isinstance(stop.value, Interrupted)
        assert stop.value.exit_code == 130
    kept = (folder / out / "trial-000" / "model.safetensors").stat().st_mtime_ns
    assert outcome(run(folder, out)) == outcome(whole)
    assert (folder / out / "trial-000" / "model.safetensors").stat().st_mtime_ns == kept


def test_another_seed_draws_other_values(folder: Path, whole: Sweep) -> None:
    """Trials of two seeds share no value, not even shifted by one."""
    other = run(folder, "other", trials=2, seed=1)
    rates = {trial.settings["train.learning_rate"] for trial in (*whole.trials, *other.trials)}
    assert len(rates) == 5


def test_other_settings_are_refused(folder: Path, whole: Sweep) -> None:
    """A study has one set of ranges, one recipe and one seed; how fast it is trained may change."""
    with pytest.raises(CheckpointError, match=r"other settings: seed was 0, now 1; .*give another --out"):
        run(folder, "whole", seed=1)
    changed = folder / "changed.toml"
    text = folder / "text.txt"

    def again(recipe: str) -> Sweep:
        changed.write_text(recipe, encoding="utf-8")
        return lmkit.sweep(changed, text, valid=text, trials=3, out=folder / "whole")

    with pytest.raises(CheckpointError, match=r"sweep.train.learning_rate.high was 0.02, now 0.03"):
        again(RECIPE.replace("high = 0.02", "high = 0.03"))
    with pytest.raises(CheckpointError, match=r"recipe.train.bptt was 8, now 9"):
        again(RECIPE.replace("bptt = 8", "bptt = 9"))
    assert outcome(again(RECIPE.replace("[train]", "[train]\nthreads = 1"))) == outcome(whole)


def test_folders(folder: Path, whole: Sweep) -> None:
    """A folder of something else, and a damaged study, are errors."""
    with pytest.raises(UsageError, match="exists and is not a sweep; give another --out"):
        run(folder, "whole/trial-000")
    (folder / "damaged" / "trial-000").mkdir(parents=True)
    (folder / "damaged" / module.JOURNAL).write_text("{}\n", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"study\.journal is damaged"):
        run(folder, "damaged")


def test_a_mistake_in_the_first_trial_can_be_corrected(folder: Path) -> None:
    """Before anything is trained, a sweep may begin again with other settings."""
    with pytest.raises(lmkit.errors.DataError):
        lmkit.sweep(folder / "r.toml", folder / "absent.txt", trials=1, out=folder / "corrected")
    assert len(run(folder, "corrected", trials=1).trials) == 1


def test_the_sweep_goes_on_after_a_trial_that_diverges(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such a trial counts as failed, and is not repeated."""
    calls: list[Path] = []

    def diverging(recipe: Any, *, out: Path, **more: Any) -> Any:
        calls.append(out)
        if len(calls) == 1:
            raise DivergedError("the loss became nan at step 1")
        return original(recipe, out=out, **more)

    original = module.train_recipe
    monkeypatch.setattr(module, "train_recipe", diverging)
    found = run(folder, "diverging", trials=2)
    assert [(trial.trial, trial.problem) for trial in found.trials] == [
        (1, None), (0, "the loss became nan at step 1"),
    ]  # fmt: skip
    assert outcome(run(folder, "diverging", trials=2)) == outcome(found)
    assert len(calls) == 2


def test_command(folder: Path) -> None:
    """With tokenizers in the ranges, bits per byte decide; the last line repeats the best run."""
    recipe = RECIPE.partition("[sweep]")[0] + '[sweep]\ntokenizer.name = ["word", "char"]\n'
    (folder / "tokenizers.toml").write_text(recipe, encoding="utf-8")
    out, text = folder / "tokenizers", str(folder / "text.txt")
    line = [
        "sweep",
        str(folder / "tokenizers.toml"),
        text,
        "--valid",
        text,
        "--trials",
        "2",
        "--out",
        str(out),
    ]
    result = CliRunner().invoke(cli, line)
    assert result.exit_code == 0, result.stderr
    assert "| trial | tokenizer.name | validation loss | bits per byte | seconds |" in result.stdout
    facts = json.loads(CliRunner().invoke(cli, [*line, "--json"]).stdout)
    assert facts["by"] == "valid_bits_per_byte"
    best = out / f"trial-{facts['best']:03}"
    assert f"repeat it: lmkit train --recipe {best}/recipe.toml --out DIR" in result.stderr
    build(read_recipe(best / "recipe.toml"))


def test_all_trials_fail(folder: Path) -> None:
    """Rates that diverge are an error that gives the reason, after the table."""
    recipe = RECIPE.partition("[sweep]")[0].replace("[train]", '[train]\noptimizer = "sgd"\nclip_norm = 0.0')
    (folder / "fails.toml").write_text(
        recipe + "[sweep]\ntrain.learning_rate = [1e35, 1e36]\n", encoding="utf-8"
    )
    line = ["sweep", folder / "fails.toml", folder / "text.txt", "--trials", "1", "--out", folder / "fails"]
    result = CliRunner().invoke(cli, [str(one) for one in line])
    assert result.exit_code == 1
    assert "failed" in result.stdout
    assert "every trial failed, the first because the " in result.stderr
