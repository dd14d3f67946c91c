"""RUN... TEXT...: which arguments are runs, which are text, and errors for the rest."""

from pathlib import Path

import pytest

from lmkit.cli.common import Items, split_items
from lmkit.errors import LmkitError, ModelError, UsageError


def make_run(path: Path) -> Path:
    """A directory that is a run as far as its path shows."""
    path.mkdir(parents=True)
    (path / "lmkit.json").write_text('{"files": {"model.safetensors": {}}}')
    (path / "model.safetensors").write_bytes(b"weights")
    return path


def test_order_does_not_matter(tmp_path: Path) -> None:
    """A directory with lmkit.json is a run in any position; names that are not paths are texts."""
    one, two = make_run(tmp_path / "one"), make_run(tmp_path / "two")
    text = tmp_path / "text.txt"
    for items in ([one, two, text], [text, one, two], [one, text, two]):
        assert split_items([*map(str, items)], (), "eval") == Items({"one": one, "two": two}, [str(text)])
    asked = split_items(["pydocs:test", str(one), "-"], ("more.txt",), "eval")
    assert (asked.run, asked.texts) == (one, ["pydocs:test", "-", "more.txt"])


def test_data_is_never_a_run(tmp_path: Path) -> None:
    """What --data names is text, and enough of it; reading it says that a run is not one."""
    one = make_run(tmp_path / "one")
    assert split_items([str(one)], ("t.txt",), "eval") == Items({"one": one}, ["t.txt"])


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda path: path / "absent", ModelError, "does not exist"),
        (lambda path: make_run(path / "r") / "model.safetensors", UsageError, "is a file of the run"),
        (lambda path: _unfinished(path / "half"), ModelError, "its training is unfinished"),
        (lambda path: _archive(path / "run.tar.gz"), ModelError, "is an archive"),
    ],
)
def test_what_is_no_run(tmp_path: Path, make, error: type[LmkitError], words: str) -> None:
    """A missing path, a file inside a run, a half-trained run and an archive each get a remedy."""
    with pytest.raises(error, match=words):
        split_items([str(make(tmp_path))], (), "eval")


def test_half_trained_beside_a_run(tmp_path: Path) -> None:
    """A run without a model is refused beside others too: it is not read as text."""
    one, half = make_run(tmp_path / "one"), _unfinished(tmp_path / "half")
    with pytest.raises(ModelError, match="its training is unfinished"):
        split_items([str(one), str(half), "text.txt"], (), "eval")


def test_text_is_needed(tmp_path: Path) -> None:
    """Runs alone leave nothing to read."""
    with pytest.raises(UsageError, match="give TEXT after the runs"):
        split_items([str(make_run(tmp_path / "one"))], (), "eval")


def test_one_run_twice(tmp_path: Path) -> None:
    """A run that is given twice is a mistake."""
    one = make_run(tmp_path / "one")
    with pytest.raises(UsageError, match="given twice"):
        split_items([str(one), f"{one}/.", "text.txt"], (), "eval")


def _unfinished(path: Path) -> Path:
    path.mkdir()
    (path / "recipe.toml").write_text("")
    return path


def _archive(path: Path) -> Path:
    path.write_bytes(b"packed")
    return path


def test_likely_runs_are_named(tmp_path: Path) -> None:
    """A misspelt run and a folder of runs get the runs that are there."""
    make_run(tmp_path / "kn5")
    with pytest.raises(ModelError, match=r"did you mean .*kn5\?"):
        split_items([str(tmp_path / "kn4"), "text.txt"], (), "eval")
    with pytest.raises(ModelError, match=r"exist\): give"):
        split_items([str(tmp_path / "lstm"), "text.txt"], (), "eval")
    with pytest.raises(ModelError, match=r"folder of runs, not a run: give one of them, .*kn5"):
        split_items([str(tmp_path), "text.txt"], (), "eval")
