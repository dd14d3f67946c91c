"""The table [sweep] of a recipe: every form of a range, and a message for every mistake. None of it needs optuna."""

import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from lmkit.cli import cli
from lmkit.errors import UsageError
from lmkit.recipe import build
from lmkit.studies.sweep import Sweep, SweepTrial
from lmkit.studies.sweep_ranges import Choices, Numbers, Space, read_space

RATES = "train.learning_rate = { low = 0.001, high = 0.02, log = true }"


def space(ranges: str, recipe: str = "") -> Space:
    return read_space(tomllib.loads(f"{recipe}\n[sweep]\n{ranges}"), "r.toml")


def test_forms_of_ranges() -> None:
    """Names may be dotted, quoted or in a table below; numbers take the type of their setting."""
    found = space(
        f"""{RATES}
        "model.cell.name" = ["gru", "lstm"]
        model.hidden_size = {{ low = 64, high = 512, step = 64 }}
        model.dropout = {{ low = 0, high = 0.5, step = 0.1 }}
        [sweep.tokenizer]
        min_count = [1, 2]"""
    )
    assert found.ranges == {
        "train.learning_rate": Numbers(0.001, 0.02, log=True),
        "model.cell.name": Choices(("gru", "lstm")),
        "model.hidden_size": Numbers(64, 512, 64, whole=True),
        "model.dropout": Numbers(0, 0.5, 0.1),
        "tokenizer.min_count": Choices((1, 2)),
    }
    assert found.changes_tokenizer
    assert not space(RATES).changes_tokenizer


def test_values_replace_those_of_the_recipe() -> None:
    """A recipe of a sweep is the recipe with the values, whichever form its model has."""
    short = 'model = "gru"\n[train]\nbptt = 8'
    found = space('model.cell.name = ["gru", "lstm"]\ntrain.batch_size = [2, 4]', short)
    recipe = found.recipe({"model.cell.name": "lstm", "train.batch_size": 4})
    tables = {"model": "lstm", "train": {"bptt": 8, "batch_size": 4}}
    assert recipe == build(tables)
    assert found.tables["model"] == "gru"  # unchanged
    named = space('model.name = ["gru", "lstm"]', "[model]\nhidden_size = 8")
    assert named.recipe({"model.name": "lstm"}) == build({"model": {"name": "lstm", "hidden_size": 8}})


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        ("", "r.toml has no ranges; add a table [sweep], such as train.learning_rate ="),
        (
            "train.learning_rat = [0.1, 0.2]",
            "unknown setting 'train.learning_rat'; did you mean 'train.learning_rate'",
        ),
        ('model.cel.name = ["gru", "lstm"]', "did you mean 'model.cell.name'?"),
        ('model.cell = ["gru", "lstm"]', "unknown setting 'model.cell'; did you mean 'model.cell.name'?"),
        (
            'data.encoding = ["utf-8", "latin-1"]',
            "data.encoding cannot have a range; only settings of train, model",
        ),
        ("train.bptt = { low = 8, hihg = 64 }", "train.bptt has an unknown key 'hihg'; did you mean 'high'?"),
        ("train.bptt = { low = 8 }", "train.bptt lacks high"),
        ("train.bptt = { low = 8, high = 8 }", "high must be larger"),
        ("train.learning_rate = { low = 0.1, high = nan }", "high must be larger, and both finite"),
        (
            "train.learning_rate = { low = 0.0, high = 1, log = true }",
            "a logarithmic scale needs numbers above 0",
        ),
        ("train.bptt = { low = 8, high = 64, log = true, step = 8 }", "has step and log; leave one out"),
        ("train.bptt = { low = 8, high = 64, step = 10 }", "high must be low plus a multiple of it"),
        ("train.bptt = { low = 8, high = 64, step = -8 }", "high must be low plus a multiple of it"),
        ("train.bptt = { low = true, high = 64 }", "has low = True; give a number"),
        ("train.bptt = { low = 8, high = 64, log = 1 }", "has log = 1; give true or false"),
        ("train.bptt = { low = 8.5, high = 64 }", "train.bptt is a whole number; give whole numbers"),
        ("train.schedule = { low = 1, high = 2 }", "train.schedule is not a number; give a list of values"),
        ("model.name = { low = 1, high = 2 }", "model.name is not a number; give a list of values"),
        ("train.bptt = 8", "train.bptt is 8; give a list of values, or { low = ..., high = ... }"),
        ("train.bptt = [8]", "train.bptt needs at least two values"),
        ("train.bptt = [8, 16, 8]", "train.bptt has a value twice"),
        ("train.bptt = [8, []]", "train.bptt has the value []; give words, numbers, true or false"),
        ("train.bptt = { low = 0, high = 64 }", "train: bptt must be at least 1, not 0"),
        ('train.schedule = ["linear", "cosin"]', "train.schedule = 'cosin': train: schedule must be one of"),
        (
            'model.cell.name = ["lstm", "rnn"]\nmodel.cell.forget_bias = [0.5, 1.0]',
            "model.cell.name = 'rnn': model.cell: unknown option 'forget_bias'",
        ),
    ],
)
def test_mistakes(ranges: str, message: str) -> None:
    """A mistake names the setting, the problem and the remedy, before anything is trained."""
    with pytest.raises(UsageError) as error:
        space(ranges)
    assert str(error.value).startswith("r.toml")
    assert message in str(error.value)


def test_all_mistakes_are_reported_at_once() -> None:
    """Each has its line."""
    with pytest.raises(UsageError) as error:
        space("train.btt = [8, 16]\nmodel.hiden_size = [8, 16]")
    assert str(error.value).splitlines()[0] == "2 problems:"


def test_a_recipe_with_ranges_is_not_trained_once() -> None:
    """`lmkit train` says what the table is for."""
    with pytest.raises(UsageError, match="has ranges for lmkit sweep; to train once, leave it out"):
        build(tomllib.loads(f"[sweep]\n{RATES}"))


def trial(number: int, loss: float | None, **more: Any) -> SweepTrial:
    settings = {"train.learning_rate": 0.0123456, "model.cell.name": "gru"}
    return SweepTrial(number, f"runs/sweep/trial-{number:03}", settings, loss, **more)


def test_table_and_json() -> None:
    """A row for each trial with its settings; figures that a trial lacks are blank."""
    found = Sweep("runs/sweep", "valid_loss", [
        trial(2, 1.5, valid_bits_per_byte=2.25, seconds=3.21),
        trial(0, 1.75, seconds=4.0),
        trial(1, None, problem="the loss became nan at step 3"),
    ])  # fmt: skip
    table = found.table()
    names = ["train.learning_rate", "model.cell.name"]
    assert table.header == ["trial", *names, "validation loss", "bits per byte", "seconds"]
    assert table.left == 3
    assert table.rows == [
        ["2", "0.01235", "gru", "1.5000", "2.2500", "3.2"],
        ["0", "0.01235", "gru", "1.7500", "", "4.0"],
        ["1", "0.01235", "gru", "failed", "", ""],
    ]
    assert found.best is found.trials[0]
    facts = found.to_json()
    assert facts["best"] == 2
    assert facts["trials"][2]["problem"] == "the loss became nan at step 3"
    assert Sweep("runs/sweep", "valid_loss", [trial(1, None, problem="too large")]).best is None


def test_missing_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without optuna, the command names the extra that installs it."""
    monkeypatch.setitem(sys.modules, "optuna", None)
    (tmp_path / "r.toml").write_text(f"[sweep]\n{RATES}", encoding="utf-8")
    result = CliRunner().invoke(cli, ["sweep", str(tmp_path / "r.toml"), "text.txt"])
    assert result.exit_code == 2
    assert "this needs the library optuna" in result.stderr
    assert "lmkit-toolkit[sweep]" in result.stderr
