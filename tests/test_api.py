"""The settings that `lmkit.train` takes from Python: where each goes, and what is refused."""

import math
from pathlib import Path
from typing import Any

import pytest

import lmkit
from lmkit import recipe as recipes
from lmkit.corpus.readers import Text
from lmkit.errors import DataError, UsageError
from lmkit.training.report import Silent
from lmkit.training.text import find_tokenizer, with_defaults

SMALL: dict[str, Any] = {"hidden_size": 8, "max_steps": 2, "batch_size": 2, "bptt": 8}


class Heard(Silent):
    """Keeps the messages."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def message(self, text: str) -> None:
        self.messages.append(text)


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("the cat sat on the mat\nthe dog sat on the log\n" * 40, encoding="utf-8")
    return path


def test_an_option_of_the_word_tokenizer_chooses_it(
    tmp_path: Path, text: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As on the command line, an option that only words have chooses words, with a note."""
    model = lmkit.train(text, out=tmp_path / "x", unk_word="<unk>", vocab_size=9, **SMALL)
    found = model.run.tokenizer_choice
    assert (found.name, found.options.vocab_size) == ("lmkit:word", 9)
    assert "unk_word, vocab_size: for the tokenizer word" in caplog.text


@pytest.mark.parametrize(
    "settings",
    [
        {"tokenizer": {"min_count": 1}},
        {"model": "recurrent", "cell": {"activation": "relu"}},
        {"model": {"hidden_size": 8}},
    ],
)
def test_a_table_without_a_name_is_a_usage_error(text: Path, settings: dict[str, Any]) -> None:
    """A part's table names the part."""
    with pytest.raises(UsageError, match="it needs a name"):
        lmkit.train(text, **settings)


def test_two_names_for_the_cell_are_refused(tmp_path: Path, text: Path) -> None:
    """`model="rnn", cell="gru"` has no meaning; a cell's options beside the cell's name as model have one."""
    with pytest.raises(UsageError, match="leave one out"):
        lmkit.train(text, model="rnn", cell="gru")
    model = lmkit.train(text, model="rnn", cell={"activation": "relu"}, out=tmp_path / "x", **SMALL)
    assert model.run.manifest["model"]["cell"] == {"name": "lmkit:rnn", "activation": "relu"}


def test_what_was_chosen_for_the_user_is_said(text: Path) -> None:
    """The data and the tokenizer that nobody named are messages, shown without --verbose."""
    heard = Heard()
    recipe = with_defaults(recipes.build({}), heard)
    assert recipe.train_paths == ("pydocs:train",)
    assert "no TEXT given" in heard.messages.pop()
    for line, said in (
        ("two words", "word (words are separated by spaces)"),
        ("今天天气", "char (words are separated by no spaces)"),
    ):
        find_tokenizer(Text.from_lines([line] * 9), recipe, heard)
        assert heard.messages.pop() == f"tokenizer: {said}"


def test_the_text_chooses_the_tokenizer_of_an_option(tmp_path: Path) -> None:
    """min_count belongs to whichever tokenizer the text chooses: Chinese stays in characters."""
    (tmp_path / "zh.txt").write_text("今天天气很好\n今天下雨\n" * 9, encoding="utf-8")
    model = lmkit.train(tmp_path / "zh.txt", model="ngram", order=2, min_count=10, out=tmp_path / "zh")
    assert model.run.manifest["tokenizer"] == {"name": "lmkit:char", "min_count": 10}
    assert model.tokenizer.ids("今雨").tolist()[1] == model.vocabulary.unk_id
    with pytest.raises(UsageError, match="min_count"):
        lmkit.train(tmp_path / "zh.txt", model="ngram", min_count=0, out=tmp_path / "no")


@pytest.mark.parametrize("reset", ["line", "never"])
def test_empty_texts_have_the_lines_that_they_have(tmp_path, reset):
    """The texts "" and [] have no lines, "\\n" and [""] a blank one, alike for every way to score lines."""
    (tmp_path / "text.txt").write_text("the cat sat\n\nthe dog ran\n" * 9, encoding="utf-8")
    for model in ({"name": "ngram", "order": 2}, {"name": "gru", "hidden_size": 8, "reset": reset}):
        steps: dict[str, Any] = {"max_steps": 2} if model["name"] == "gru" else {}
        trained = lmkit.train(tmp_path / "text.txt", model=model, out=tmp_path / str(model["name"]), **steps)
        for empty in ("", [], b""):
            with pytest.raises(DataError, match="no lines"):
                trained.line_scores(empty)
        for empty in ("", []):
            with pytest.raises(DataError, match="no lines"):
                trained.score(empty)
            with pytest.raises(DataError, match="no lines"):
                trained.surprisal(empty)
        assert trained.sentence_scores([]).shape == (0,)
        for blank in ("\n", [""], ["\n"]):
            (wanted,) = trained.line_scores(blank)
            score = trained.score(blank)
            assert (score.tokens, score.lines) == (1, 1)
            assert score.log_prob == pytest.approx(wanted, abs=1e-6)
            (record,) = trained.surprisal(blank)
            assert record.surprisal == pytest.approx(-wanted / math.log(2), abs=1e-6)
            assert trained.sentence_scores([""])[0] == pytest.approx(wanted, abs=1e-6)
        for lines in ("the cat", ["the cat"], "the cat\n", "the\n\n", ["the\n\n"], ["a", ""]):
            assert len(trained.line_scores(lines)) == trained.score(lines).lines


def test_lines_are_strings(trained):
    """Lists of words are no lines: refused in one sentence, not by a traceback."""
    model = lmkit.load(trained)
    for call in (model.score, model.surprisal, model.line_scores):
        with pytest.raises(UsageError, match="line 2 is a list"):
            call(["the cat", ["the", "cat"]])  # pyright: ignore[reportArgumentType]
