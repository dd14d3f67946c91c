"""`lmkit classify` and `predict`: whole commands on small texts, their files and their errors."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lmkit.cli import cli

SMALL = ("--hidden-size", 8, "--max-epochs", 2, "--min-count", 1, "--device", "cpu")


def texts_of(word: str, count: int, seed: int) -> list[str]:
    """Lines in which one word tells the class."""
    chance = random.Random(seed)
    return [" ".join([*chance.choices(["the", "a", "film", "was"], k=4), word]) for _ in range(count)]


@pytest.fixture
def lmkit() -> Callable[..., Result]:
    """Run a command line."""
    return lambda *line, stdin=None: CliRunner().invoke(cli, [str(word) for word in line], input=stdin)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A CSV file of sixty texts of two classes."""
    path = tmp_path / "train.csv"
    rows = [
        f"{text},{label}"
        for label, word in (("bad", "dull"), ("good", "fine"))
        for text in texts_of(word, 30, 1)
    ]
    path.write_text("\n".join(["text,label", *rows]), encoding="utf-8")
    return path


def test_train_predict_and_describe(table: Path, tmp_path: Path, lmkit: Callable[..., Result]) -> None:
    """A table gives a run, whose predictions, figures and description agree with one another."""
    run = tmp_path / "clf"
    trained = lmkit("classify", table, "--out", run, *SMALL, "--learning-rate", 0.05, "--json")
    assert trained.exit_code == 0, trained.output
    figures = json.loads(trained.stdout)
    assert (figures["classes"], figures["train_texts"], figures["valid_texts"]) == (2, 54, 6)
    assert sorted(path.name for path in run.iterdir()) == [
        ".lock", "classifier.json", "classifier.safetensors", "lmkit.json", "metrics.jsonl", "model.safetensors",
        "tokenizer",
    ]  # fmt: skip
    measured = json.loads(lmkit("predict", run, table, "--label", "label", "--json").stdout)
    listed = lmkit("predict", run, table)
    header, *rows = listed.stdout.splitlines()
    assert header.split("\t") == ["predicted", "probability", "text"]
    labels = ["bad"] * 30 + ["good"] * 30
    right = sum(row.split("\t")[0] == label for row, label in zip(rows, labels, strict=True))
    assert measured["accuracy"] == right / 60
    assert json.loads(lmkit("info", run, "--json").stdout)["labels"] == ["bad", "good"]
    assert "lmkit predict" in lmkit("info", run).stdout


def test_a_file_for_each_class(tmp_path: Path, lmkit: Callable[..., Result]) -> None:
    """Files of plain text, one for each class, serve in training and in measuring; blank lines are left out."""
    for name, word in (("neg", "dull"), ("pos", "fine")):
        (tmp_path / name).write_text("\n".join([*texts_of(word, 20, 2), "", ""]), encoding="utf-8")
    files = [part for name in ("neg", "pos") for part in ("--class", f"{name}={tmp_path / name}")]
    run = tmp_path / "clf"
    trained = lmkit(
        "classify", *files, "--out", run, "--directions", "both", "--pool", "concat", *SMALL, "--json"
    )
    assert trained.exit_code == 0, trained.output
    assert (run / "backward" / "model.safetensors").is_file()
    measured = lmkit("predict", run, *files)
    assert "predicted neg" in measured.stdout
    assert lmkit("predict", run, "-", "--json", stdin="\nfine\n").stdout.count("probabilities") == 2


@pytest.mark.parametrize(
    ("rows", "options", "code", "said"),
    [
        (
            "text,class\na b,x\n",
            (),
            3,
            "no field 'label'; its fields are 'text', 'class'; choose one with --label",
        ),
        ("text,label\na b,x\nc d,x\n", (), 3, "all 2 texts have the label 'x'"),
        ("text,label\na b,x\nc d,\n", (), 3, "the label in 'label' is empty"),
        ("text,label\n ,x\n ,y\n", (), 3, "only blank ones"),
        ("text,label\na,x\nb,y\nc,z\n", (), 3, "3 different labels in 3 texts"),
        ("text,label\na,x\nb,y\nc,x\nd,y\n", ("--model", "ngram"), 2, "no states to classify"),
    ],
    ids=["column", "one class", "empty label", "blank", "no classes", "no states"],
)
def test_bad_texts(
    rows: str, options: tuple[str, ...], code: int, said: str, tmp_path: Path, lmkit: Callable[..., Result]
) -> None:
    """What cannot be learned from is one clear line, and no run is left."""
    path = tmp_path / "bad.csv"
    path.write_text(rows, encoding="utf-8")
    result = lmkit("classify", path, "--out", tmp_path / "clf", *options)
    assert (result.exit_code, result.output.count("\n")) == (code, 1), result.output
    assert said in result.output
    assert not (tmp_path / "clf").exists()


def test_a_class_of_one_text_stays_in_training(tmp_path: Path, lmkit: Callable[..., Result]) -> None:
    """A class with a single text is learned and not held out."""
    path = tmp_path / "t.csv"
    path.write_text("text,label\n" + "a b,x\n" * 5 + "c d,y\n" * 5 + "e f,z\n", encoding="utf-8")
    trained = lmkit("classify", path, "--out", tmp_path / "clf", *SMALL, "--json")
    assert json.loads(trained.stdout)["classes"] == 3


def test_runs_of_the_wrong_kind(
    table: Path, trained: Path, tmp_path: Path, lmkit: Callable[..., Result]
) -> None:
    """A classifier is refused where a language model is needed, and the other way round, with the right command."""
    run = tmp_path / "clf"
    lmkit("classify", table, "--out", run, *SMALL)
    refused = lmkit("eval", run, table)
    assert (refused.exit_code, "lmkit predict" in refused.output) == (4, True), refused.output
    refused = lmkit("predict", trained, table)
    assert (refused.exit_code, "--init-from" in refused.output) == (4, True), refused.output
    unknown = tmp_path / "unknown.csv"
    unknown.write_text("text,label\na,odd\n", encoding="utf-8")
    refused = lmkit("predict", run, unknown, "--label", "label")
    assert (refused.exit_code, "'odd' (1 texts) is not a class" in refused.output) == (3, True), (
        refused.output
    )
    assert lmkit("classify", table, "--out", run, *SMALL).exit_code == 2
    (run / "classifier.safetensors").write_bytes(b"x")
    assert lmkit("predict", run, table).exit_code == 4


def test_from_a_language_model(
    table: Path, trained: Path, tmp_path: Path, lmkit: Callable[..., Result]
) -> None:
    """--init-from takes the model and the tokenizer of a run; options of a new model are refused."""
    made = lmkit("classify", table, "--init-from", trained, "--out", tmp_path / "clf", "--max-epochs", 3)
    assert made.exit_code == 0, made.output
    assert "begun from" in lmkit("info", tmp_path / "clf").stdout
    refused = lmkit("classify", table, "--init-from", trained, "--model", "gru", "--out", tmp_path / "other")
    assert (refused.exit_code, "leave --model out" in refused.output) == (2, True), refused.output
    absent = ("--init-from", tmp_path / "none", "--out", tmp_path / "other")
    missing = lmkit("classify", tmp_path / "none.csv", *absent)
    assert (missing.exit_code, "run's directory" in missing.output) == (4, True), (
        missing.output
    )  # before the texts
