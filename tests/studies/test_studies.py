"""The functions of lmkit that ask several models give what the commands of their names print as JSON."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import lmkit
from lmkit.cli import cli
from lmkit.errors import ModelError, UsageError
from lmkit.evaluation.minimal_pairs import accuracies
from lmkit.evaluation.pair_files import Pair, read_pairs

LINES = ["the cat sat on the mat", "the dog sat", "a cat and a dog"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two n-grams over one vocabulary, runs/two and runs/three, and their text."""
    place = tmp_path_factory.mktemp("studies")
    (place / "train.txt").write_text("\n".join(LINES * 30), encoding="utf-8")
    (place / "test.txt").write_text("\n".join(LINES[::-1]), encoding="utf-8")
    for order, name in ((2, "two"), (3, "three")):
        lmkit.train(
            place / "train.txt", model="ngram", order=order, tokenizer="word", out=place / "runs" / name
        )
    return place


@pytest.fixture(scope="module")
def runs(folder: Path) -> list[Path]:
    return [folder / "runs" / name for name in ("two", "three")]


def said(*line: object) -> object:
    """What a command prints as JSON."""
    result = CliRunner().invoke(cli, [*map(str, line), "--json"])
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_compare(folder: Path, runs: list[Path]) -> None:
    """The rows are those of `lmkit compare`, but for what depends on the moment."""
    found = lmkit.compare(runs, folder / "test.txt")
    rows = said("compare", *runs, folder / "test.txt")
    moment = ("tokens_per_second", "peak_memory")
    for one in (*found.rows, *rows):
        for name in moment:
            one.pop(name)
    assert found.rows == rows
    assert [row["run"] for row in found.rows] in (["two", "three"], ["three", "two"])


def test_compare_raises_the_error_of_a_run(folder: Path, runs: list[Path], tmp_path: Path) -> None:
    """An error in the process of a run is raised here, with its class and its text."""
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for path in runs[0].rglob("*"):
        if path.is_file():
            (damaged / path.relative_to(runs[0])).parent.mkdir(exist_ok=True, parents=True)
            (damaged / path.relative_to(runs[0])).write_bytes(path.read_bytes())
    words = damaged / "tokenizer" / "words.txt"
    words.write_bytes(words.read_bytes().replace(b"cat", b"dat"))
    with pytest.raises(ModelError, match=r"words\.txt: has changed since it was saved"):
        lmkit.compare([runs[1], damaged], folder / "test.txt")


def test_context(folder: Path, runs: list[Path]) -> None:
    """The curves are those of `lmkit context`."""
    found = lmkit.context(runs, folder / "test.txt", longest=5, gradients=False)
    facts = said("context", *runs, folder / "test.txt", "--longest", "5", "--no-gradients")
    assert isinstance(facts, dict)
    assert list(found) == ["two", "three"]
    for name, one in found.items():
        assert one.curve.nats.tolist() == facts["runs"][name]["context"]["nats"]
    with pytest.raises(UsageError, match="cannot be shuffled"):
        lmkit.context(runs, folder / "test.txt", longest=1, shuffle=True)


def test_fill(runs: list[Path]) -> None:
    """The candidates are ranked as by `lmkit fill`; a mapping names the models itself, and unknown words are told."""
    models = {"a": lmkit.load(runs[0]), "b": runs[1]}
    found = lmkit.fill(models, "the ____ sat", ["cat", "dog", "zebra"], why=True)
    rows = said("fill", *runs, "the ____ sat", "--candidates", "cat,dog,zebra")
    assert isinstance(rows, list)
    assert [text for one in found.values() for text in one.filled.candidates] == [row["text"] for row in rows]
    assert found["a"].unknown == {"zebra": ["zebra"]}
    assert found["a"].why is not None


def test_distances(runs: list[Path]) -> None:
    """The accuracies are those of `lmkit distances`."""
    found = lmkit.distances(runs[0], language="en", farthest=1, count=4)
    facts = said("distances", runs[0], "--language", "en", "--farthest", 1, "--count", 4)
    assert isinstance(facts, dict)
    assert {name: one.accuracy("clauses") for name, one in found.rankings.items()} == facts["runs"]
    assert found.sentences == 8
    assert found.learned == facts["learned"]
    assert found.unknown["two"] > 0


def test_minimal_pairs(runs: list[Path], tmp_path: Path) -> None:
    """The accuracies are those of `lmkit minimal-pairs`; pairs may be made in Python."""
    pair = {"sentence_good": "the cat sat", "sentence_bad": "sat the cat", "UID": "order"}
    (tmp_path / "pairs.jsonl").write_text(json.dumps(pair), encoding="utf-8")
    pairs = read_pairs([tmp_path / "pairs.jsonl"])
    assert pairs == [Pair("the cat sat", "sat the cat", "order")]
    found = lmkit.minimal_pairs(runs, pairs)
    facts = said("minimal-pairs", *runs, tmp_path / "pairs.jsonl")
    assert isinstance(facts, dict)
    for label, one in found.items():
        assert accuracies(pairs, one)["order"].percent == facts[label]["paradigms"]["order"]


def test_interpolate(folder: Path, runs: list[Path], tmp_path: Path) -> None:
    """The mixture is a run, with the weights that `lmkit interpolate` prints; one model is no mixture."""
    found = lmkit.interpolate(runs, folder / "test.txt", tmp_path / "mixed")
    facts = said("interpolate", *runs, folder / "test.txt", "--out", tmp_path / "again")
    assert isinstance(facts, dict)
    assert found.weights == {label: part["weight"] for label, part in facts["parts"].items()}
    assert sum(found.weights.values()) == pytest.approx(1)
    text = (folder / "test.txt").read_text(encoding="utf-8")
    assert lmkit.load(found.run).score(text).perplexity == pytest.approx(found.perplexity)
    with pytest.raises(UsageError, match="at least two runs"):
        lmkit.interpolate(runs[:1], folder / "test.txt", tmp_path / "one")
    with pytest.raises(UsageError, match="no model given"):
        lmkit.fill([], "the ____ sat")
