"""`--tokenizer NAME:FILE`: the vocabulary of a run from a file that the run does not need afterwards."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import lmkit
from lmkit.cli import cli
from lmkit.errors import UsageError

TEXT = "the cat saw the dog\na bird saw the cat\n" * 5


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture
def words(tmp_path: Path) -> Path:
    path = tmp_path / "own.txt"
    path.write_text("saw\nthe\nzebra\n")
    return path


def run_line(*words: Any) -> Result:
    return CliRunner().invoke(cli, ["train", *map(str, words)], catch_exceptions=False)


@pytest.mark.parametrize("tokenizer", ["word:{}", "lmkit:word:{}"])
def test_the_short_form_is_the_option_file(text: Path, words: Path, tmp_path: Path, tokenizer: str) -> None:
    """On the command line; the recipe has the file, and repeats the training with the same ids."""
    name = tokenizer.format(words)
    result = run_line(text, "--model", "ngram", "--order", 2, "--tokenizer", name, "--out", tmp_path / "a")
    assert result.exit_code == 0, result.stderr
    table = tomllib.loads((tmp_path / "a" / "recipe.toml").read_text())["tokenizer"]
    assert (table["name"], table["file"]) == ("lmkit:word", str(words))
    result = run_line("--recipe", tmp_path / "a" / "recipe.toml", "--out", tmp_path / "b")
    assert result.exit_code == 0, result.stderr
    first, second = (lmkit.load(tmp_path / name).tokenizer.vocabulary for name in "ab")
    assert first == second
    assert first.size == 5


def test_the_option_has_a_flag(text: Path, words: Path, tmp_path: Path) -> None:
    """`--tokenizer word --file own.txt`, which the help shows too."""
    given = ["--tokenizer", "word", "--file", words]
    result = run_line(text, "--model", "ngram", "--order", 2, *given, "--out", tmp_path / "a")
    assert result.exit_code == 0, result.stderr
    assert lmkit.load(tmp_path / "a").tokenizer.ids("zebra saw").tolist() == [4, 2]
    assert "word:FILE" in run_line("--tokenizer", "word", "--help").stdout


def test_in_python_the_run_needs_no_file(text: Path, words: Path, tmp_path: Path) -> None:
    """Loading and resuming use the copy in the run."""
    out, size = tmp_path / "a", {"hidden_size": 4, "batch_size": 2, "bptt": 4, "max_steps": 4}
    model = lmkit.train(text, tokenizer=f"word:{words}", out=out, stop_after=2, **size)
    words.unlink()
    assert model.tokenizer.ids("zebra saw cat").tolist() == [4, 2, 1]
    assert lmkit.resume(out).tokenizer.vocabulary == model.tokenizer.vocabulary


def test_a_tokenizer_without_files_is_refused(text: Path, words: Path, tmp_path: Path) -> None:
    """With what to leave out; nothing is written."""
    with pytest.raises(UsageError, match="char cannot be read from a file"):
        lmkit.train(text, model="ngram", tokenizer=f"char:{words}", out=tmp_path / "a")
    assert not (tmp_path / "a").exists()
