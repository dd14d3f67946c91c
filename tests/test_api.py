"""The settings that `lmkit.train` takes from Python: where each goes, and what is refused."""

from pathlib import Path
from typing import Any

import pytest

import lmkit
from lmkit import recipe as recipes
from lmkit.corpus.readers import Text
from lmkit.errors import UsageError
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
    """As on the command line, `vocab_size` without a tokenizer means words, and that is said."""
    model = lmkit.train(text, out=tmp_path / "x", min_count=1, vocab_size=9, **SMALL)
    found = model.run.tokenizer_choice
    assert (found.name, found.options.vocab_size) == ("lmkit:word", 9)
    assert "min_count, vocab_size: for the tokenizer word" in caplog.text


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
    assert recipe.train_paths == ("pydocs",)
    assert "no data named" in heard.messages.pop()
    for line, said in (
        ("two words", "word (words are separated by spaces)"),
        ("今天天气", "char (words are separated by no spaces)"),
    ):
        find_tokenizer(Text.from_lines([line] * 9), recipe.model, heard)
        assert heard.messages.pop() == f"tokenizer: {said}"
