"""Commands that take several runs: compare, distances, fill, minimal-pairs."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from lmkit import api
from lmkit.cli import cli, console
from lmkit.errors import UsageError
from lmkit.run_facts import model_name
from lmkit.run_paths import labels

LINES = ["the cat sat on the mat", "the dog sat", "a cat and a dog"]


def run(*line: object) -> Result:
    return CliRunner().invoke(cli, [str(part) for part in line])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("several")
    text = folder / "train.txt"
    text.write_text("\n".join(LINES * 20), encoding="utf-8")
    sizes = {"hidden_size": 8, "batch_size": 2, "bptt": 8, "max_steps": 3, "device": "cpu"}
    api.train(text, model="gru", tokenizer="word", out=folder / "gru", **sizes)
    api.train(text, model="elmo", inputs="tokens", tokenizer="word", out=folder / "elmo", **sizes)
    api.train(text, model="ngram", order=2, tokenizer="char", out=folder / "chars")
    smoothing = {"model": "ngram", "smoothing": "stupid-backoff"}
    api.train(text, out=folder / "backoff", **smoothing)
    return {name: folder / name for name in ("gru", "elmo", "chars", "backoff", "train.txt")}


def test_compare_ranks_by_bits_per_byte(trained: dict[str, Path]) -> None:
    """Every figure of eval, and speed, size and memory, for each run and direction, the best first."""
    line = ["compare", trained["gru"], trained["elmo"], trained["chars"], "--data", trained["train.txt"]]
    result = run(*line, "--json")
    assert result.exit_code == 0, result.stderr
    rows = json.loads(result.stdout)
    assert {row["run"] for row in rows} == {"gru", "elmo forward", "elmo backward", "chars"}
    bits = [row["bits_per_byte"] for row in rows]
    assert bits == sorted(bits)
    model = api.load(trained["gru"], device="cpu")
    own = model.score(LINES * 20).to_json()
    (row,) = [row for row in rows if row["run"] == "gru"]
    assert row["bits_per_byte"] == pytest.approx(own["bits_per_byte"], rel=1e-6)
    assert row["parameters"] == model.parameter_count()
    assert row["tokens_per_second"] > 0
    assert row["peak_memory"] > 1e6
    assert row["bytes_on_disk"] > 0
    assert all(row["training_seconds"] > 0 for row in rows)


@pytest.mark.parametrize(
    ("model", "shown"),
    [
        ({"name": "lmkit:recurrent", "cell": {"name": "lmkit:gru"}, "num_layers": 1}, "gru"),
        ({"name": "lmkit:recurrent", "cell": {"name": "lmkit:lstm"}, "num_layers": 2}, "2 x lstm"),
        ({"name": "lmkit:recurrent", "cell": [{"name": "lmkit:gru"}, {"name": "me:mine"}]}, "gru, mine"),
        ({"name": "lmkit:elmo", "cell": {"name": "lmkit:lstm"}, "num_layers": 2}, "elmo (2 x lstm)"),
        ({"name": "lmkit:ngram", "order": 5}, "ngram 5"),
        ({"name": "me:bigram"}, "bigram"),
    ],
)
def test_names_of_models(model: dict[str, Any], shown: str) -> None:
    """What compare's table calls a model says its cells, how many, and what is built of them."""
    assert model_name({"model": model}) == shown


def test_compare_says_what_does_not_compare(trained: dict[str, Path], tmp_path: Path) -> None:
    """Perplexities under different vocabularies are left out, scores that are no probabilities not ranked."""
    line = ["compare", trained["backoff"], trained["chars"], "--data", trained["train.txt"]]
    result = run(*line, "--plot", tmp_path / "compare.png")
    assert result.exit_code == 0, result.stderr
    assert "vocabularies differ" in result.stdout
    assert "backoff is not ranked" in result.stdout
    assert (tmp_path / "compare.png").stat().st_size > 1000


def test_compare_refuses_before_it_scores(trained: dict[str, Path]) -> None:
    """What is no run, a run twice, standard input: one line, and no table."""
    text = trained["train.txt"]
    for line in (
        [trained["gru"], text.parent / "nothing", "--data", text],
        [trained["gru"], trained["gru"], "--data", text],
        [trained["gru"], "--data", "-"],
        [trained["gru"], "--data", text, "--plot", "picture.doc"],
    ):
        result = run("compare", *line)
        assert result.exit_code not in (0, 1)
        assert result.stdout == ""
        assert result.stderr.count("\n") == 1


def test_fill_ranks_and_explains(trained: dict[str, Path], tmp_path: Path) -> None:
    """A table a run, the coloured line, a page and a picture; JSON has what they show."""
    line = ["fill", trained["gru"], trained["elmo"], "the ____ sat", "--candidates", "cat,dog,mouse"]
    result = run(*line, "--why", "--html", tmp_path / "why.html", "--plot", tmp_path / "why.png")
    assert result.exit_code == 0, result.stderr
    assert "two-sided" in result.stdout
    assert "(--normalize char)" in result.stdout
    assert "normalize char" in (tmp_path / "why.html").read_text(encoding="utf-8")
    assert "'mouse' has words outside the vocabulary" in result.stderr
    assert (tmp_path / "why.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert (tmp_path / "why.png").stat().st_size > 1000
    assert run("fill", trained["gru"], "the cat").exit_code == 2


def test_fill_as_json(trained: dict[str, Path]) -> None:
    """A row a candidate, each run's best first and with its reasons; two-sided scores are no log-probabilities."""
    line = ["fill", trained["gru"], trained["elmo"], "the ____ sat", "--candidates", "cat,dog,mouse", "--why"]
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
    assert len(json.loads(run("fill", trained["gru"], "the ____", "--top", 1, "--json").stdout)) == 1


def test_minimal_pairs(trained: dict[str, Path], tmp_path: Path) -> None:
    """A row a paradigm and their mean, for causal models and encoders."""
    rows = [{"sentence_good": "the cat sat", "sentence_bad": "sat the cat", "UID": name} for name in "ab"]
    file = tmp_path / "pairs.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    result = run("minimal-pairs", trained["gru"], trained["elmo"], file)
    assert result.exit_code == 0, result.stderr
    assert len(result.stdout.splitlines()) == 5
    facts = json.loads(run("minimal-pairs", trained["chars"], file, "--json").stdout)
    assert facts["chars"]["paradigms"].keys() == {"a", "b"}


def test_distances(trained: dict[str, Path], tmp_path: Path) -> None:
    """A column a model, three of an encoder; both controls; a picture."""
    line = ["distances", trained["gru"], trained["elmo"], "--count", 3, "--farthest", 1, "--language", "en"]
    result = run(*line, "--plot", tmp_path / "distances.png")
    assert result.exit_code == 0, result.stderr
    assert "elmo two-sided" in result.stdout
    assert "gru: 24 of the 24 consequences have words outside its vocabulary" in result.stderr
    assert (tmp_path / "distances.png").stat().st_size > 1000
    for control in ("left-out", "swapped"):
        facts = json.loads(run(*line, "--control", control, "--by", "words", "--json").stdout)
        assert facts["control"] == control
        assert set(facts["runs"]) == {"gru", "elmo forward", "elmo backward", "elmo two-sided"}


def test_labels_are_as_short_as_they_may_be(tmp_path: Path) -> None:
    """The last part of a path, or more where that does not tell two apart; the same run twice is refused."""
    paths = [tmp_path / "a" / "gru", tmp_path / "b" / "gru", tmp_path / "lstm"]
    assert list(labels(paths)) == ["a/gru", "b/gru", "lstm"]
    with pytest.raises(UsageError, match="twice"):
        labels([tmp_path, tmp_path / "x" / ".."])


def test_tables_are_aligned() -> None:
    """Columns are as wide as their widest cell, of which a Chinese character takes two places; bars are escaped."""
    table = console.table(["词", "b"], [["手机", "1"], ["a|b", "100"]])
    assert table.splitlines() == ["| 词   |   b |", "| ---- | --: |", "| 手机 |   1 |", "| a\\|b | 100 |"]
