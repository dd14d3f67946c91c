"""The example of adaptation: its texts, and its table on novels made up here."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

OTHERS = ["the queen went to the old house", "nobody had been there for years"] * 30
DOYLE = ["the horse rode over the moor", "the captain of the horse went home"] * 30


@pytest.fixture
def adapt(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("adapt/adapt.py")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Novels with Doyle's among them."""
    novels = ["Others", *OTHERS, "The Hound of the Baskervilles", *DOYLE, "JOHN GALSWORTHY", *OTHERS]
    texts = {"train": novels, "valid": OTHERS, "test": ["MICAH CLARKE", *DOYLE, "The Warden", *OTHERS]}
    for name, lines in texts.items():
        (tmp_path / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_the_texts_are_apart(adapt: ModuleType, data: Path, tmp_path: Path) -> None:
    """No line of Doyle's is in the novels, and the three parts of his book are the book."""
    adapt.prepare(data, tmp_path)
    novels = (tmp_path / "novels.txt").read_text()
    assert "horse" not in novels
    assert novels.splitlines() == ["Others", *OTHERS, "JOHN GALSWORTHY", *OTHERS]
    parts = [
        (tmp_path / f"{name}.txt").read_text().splitlines() for name in ("book", "book-valid", "book-test")
    ]
    assert [line for part in parts for line in part] == ["MICAH CLARKE", *DOYLE]
    assert [len(part) for part in parts] == [49, 6, 6]


def test_the_table_has_a_row_for_each_length(
    adapt: ModuleType,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the figures of both models, which share their pieces; runs that exist are not trained again."""
    monkeypatch.setitem(adapt.MODEL, "hidden_size", 4)
    monkeypatch.setitem(adapt.PIECES, "vocab_size", 300)
    adapt.main(data, tmp_path / "out", 0.1, [0.1])
    table = capsys.readouterr().out
    assert [line.split("|")[1].strip() for line in table.splitlines()[2:]] == ["none", "0.1 s"]
    adapt.main(data, tmp_path / "out", 0.1, [0.1])
    assert capsys.readouterr().out == table
