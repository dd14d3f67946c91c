"""A run is never read as text, whichever way it is named."""

from pathlib import Path

import pytest

from lmkit.corpus.options import DataOptions
from lmkit.corpus.readers import Text
from lmkit.errors import DataError
from lmkit.evaluation.pair_files import read_pairs
from lmkit.run_paths import is_unfinished


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A text beside a finished run and one whose training was stopped."""
    (tmp_path / "a.txt").write_text("a text\n")
    for name, files in {"done": ("lmkit.json", "recipe.toml"), "half": ("recipe.toml",)}.items():
        (tmp_path / "runs" / name / "tokenizer").mkdir(parents=True)
        (tmp_path / "runs" / name / "tokenizer" / "words.txt").write_text("word\n")
        for file in files:
            (tmp_path / "runs" / name / file).write_text("{}\n")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("runs/done", "is a run, not text"),
        ("runs/half", "directory of an unfinished training"),
        ("runs/done/lmkit.json", "is a file of the run"),
        ("runs/done/tokenizer/words.txt", "is a file of the run"),
        ("runs/half/recipe.toml", "is a file of the run"),
        ("runs/*/recipe.toml", "only files of runs"),
        ("runs", "only runs"),
    ],
)
def test_runs_are_refused(folder: Path, name: str, words: str) -> None:
    """A run, a file of one, a pattern and a folder that hold nothing else are refused, as pairs too."""
    with pytest.raises(DataError, match=words):
        Text([str(folder / name)], DataOptions())
    if "*" not in name and name != "runs":
        with pytest.raises(DataError, match=words):
            read_pairs([folder / name])


@pytest.mark.parametrize("name", ["", "**/*"])
def test_runs_are_left_out_of_folders(folder: Path, name: str) -> None:
    """A folder or a pattern gives the same text before a run is written below it and after."""
    assert [line.text for line in Text([str(folder / name)], DataOptions())] == ["a text"]


def test_a_text_in_a_run(folder: Path) -> None:
    """What somebody else put into the directory of a run is a text like any other."""
    sample = folder / "runs" / "done" / "sample.txt"
    sample.write_text("mine\n")
    assert [line.text for line in Text([str(sample)], DataOptions())] == ["mine"]


def test_a_recipe_does_not_make_a_run(folder: Path) -> None:
    """A folder of texts with a recipe or a folder of checkpoints beside them is no run."""
    (folder / "recipe.toml").write_text("")
    (folder / "checkpoints").mkdir()
    assert not is_unfinished(folder)
    assert is_unfinished(folder / "runs" / "half")
