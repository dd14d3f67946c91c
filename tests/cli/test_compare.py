"""`lmkit compare`: one table of several runs, ranked where that is fair."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lmkit import api
from lmkit.cli import cli

LINES = ["the cat sat on the mat", "the dog sat", "a cat and a dog"]


def run(*line: object) -> Result:
    return CliRunner().invoke(cli, [str(part) for part in line])


def test_compare_ranks_by_bits_per_byte(several: dict[str, Path]) -> None:
    """Every figure of eval, and speed, size and memory, for each run and direction, the best first."""
    line = ["compare", several["gru"], several["elmo"], several["chars"], "--data", several["train.txt"]]
    result = run(*line, "--json")
    assert result.exit_code == 0, result.stderr
    rows = json.loads(result.stdout)
    assert {row["run"] for row in rows} == {"gru", "elmo forward", "elmo backward", "chars"}
    bits = [row["bits_per_byte"] for row in rows]
    assert bits == sorted(bits)
    model = api.load(several["gru"], device="cpu")
    own = model.score(LINES * 20).to_json()
    (row,) = [row for row in rows if row["run"] == "gru"]
    assert row["bits_per_byte"] == pytest.approx(own["bits_per_byte"], rel=1e-6)
    assert row["parameters"] == model.parameter_count()
    assert row["tokens_per_second"] > 0
    assert row["peak_memory"] > 1e6
    assert row["bytes_on_disk"] > 0
    assert all(row["training_seconds"] > 0 for row in rows)


def test_compare_says_what_does_not_compare(several: dict[str, Path], tmp_path: Path) -> None:
    """Perplexities under different vocabularies are left out, scores that are no probabilities not ranked."""
    line = ["compare", several["backoff"], several["chars"], "--data", several["train.txt"]]
    result = run(*line, "--plot", tmp_path / "compare.png")
    assert result.exit_code == 0, result.stderr
    assert "vocabularies differ" in result.stdout
    assert "backoff is not ranked" in result.stdout
    assert (tmp_path / "compare.png").stat().st_size > 1000


def test_compare_refuses_before_it_scores(several: dict[str, Path]) -> None:
    """What is no run, a run twice, standard input: one line, and no table."""
    text = several["train.txt"]
    for line in (
        [several["gru"], text.parent / "nothing", "--data", text],
        [several["gru"], several["gru"], "--data", text],
        [several["gru"], "--data", "-"],
        [several["gru"], "--data", text, "--plot", "picture.doc"],
    ):
        result = run("compare", *line)
        assert result.exit_code not in (0, 1)
        assert result.stdout == ""
        assert result.stderr.count("\n") == 1
