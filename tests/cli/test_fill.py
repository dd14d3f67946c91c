"""`lmkit fill`: tables, reasons, pages and pictures of several runs."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lmkit.cli import cli

LINES = ["the cat sat on the mat", "the dog sat", "a cat and a dog"]


def run(*line: object) -> Result:
    return CliRunner().invoke(cli, [str(part) for part in line])


def test_fill_ranks_and_explains(several: dict[str, Path], tmp_path: Path) -> None:
    """A table a run, the coloured line, a page and a picture; JSON has what they show."""
    line = ["fill", several["gru"], several["elmo"], "the ____ sat", "--candidates", "cat,dog,mouse"]
    result = run(*line, "--why", "--html", tmp_path / "why.html", "--plot", tmp_path / "why.png")
    assert result.exit_code == 0, result.stderr
    assert "two-sided" in result.stdout
    assert "(--normalize char)" in result.stdout
    assert "normalize char" in (tmp_path / "why.html").read_text(encoding="utf-8")
    assert "'mouse' has words outside the vocabulary" in result.stderr
    assert (tmp_path / "why.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert (tmp_path / "why.png").stat().st_size > 1000
    assert run("fill", several["gru"], "the cat").exit_code == 2


def test_fill_as_json(several: dict[str, Path]) -> None:
    """A row a candidate, each run's best first and with its reasons; two-sided scores are no log-probabilities."""
    line = ["fill", several["gru"], several["elmo"], "the ____ sat", "--candidates", "cat,dog,mouse", "--why"]
    rows = json.loads(run(*line, "--json").stdout)
    assert [row["run"] for row in rows] == ["gru"] * 3 + ["elmo"] * 3
    for own in (rows[:3], rows[3:]):
        assert {row["text"] for row in own} == {"cat", "dog", "mouse"}
        assert [row["score"] for row in own] == sorted((row["score"] for row in own), reverse=True)
        assert [part and part["text"] for part in own[0]["why"]["words"]] == ["the", None, "sat"]
        assert sum(row["share"] for row in own) == pytest.approx(1)
    assert {row["normalize"] for row in rows} == {"char"}
    plain = json.loads(run(*line, "--json", "--normalize", "none").stdout)
    assert all(row["log_prob"] == row["score"] for row in plain[:3])
    same = {row["text"]: row["log_prob"] for row in plain[:3]}
    assert {row["text"]: row["log_prob"] for row in rows[:3]} == same
    assert all(row["two_sided"] and row["log_prob"] is None for row in rows[3:])
    assert len(json.loads(run("fill", several["gru"], "the ____", "--top", 1, "--json").stdout)) == 1
