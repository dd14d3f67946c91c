"""Pictures: refused before the work that they show, written whole or not at all, and nothing of a caller changed."""

import sys
from pathlib import Path

import matplotlib as mpl
import pytest

from lmkit.errors import UsageError
from lmkit.evaluation import pictures
from lmkit.notes import NOTE


@pytest.mark.parametrize(("name", "words"), [("a.doc", "use a name ending"), ("nowhere/a.png", "no folder")])
def test_paths_are_checked_first(tmp_path: Path, name: str, words: str) -> None:
    """Another suffix, or a folder that is not there: one line with the remedy."""
    with pytest.raises(UsageError, match=words):
        pictures.check(tmp_path / name)


def test_without_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the extra to install."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match=r"\[plot\]"):
        pictures.check(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", pictures.SUFFIXES)
def test_written_whole(tmp_path: Path, suffix: str) -> None:
    """Each format is written, with nothing beside it, and the caller's settings stay."""
    before = dict(mpl.rcParams)
    path = tmp_path / f"a{suffix}"
    with pictures.drawing(path) as axes:
        axes.plot([0, 1], [0, 1])
    assert path.stat().st_size > 1000
    assert [one.name for one in tmp_path.iterdir()] == [path.name]
    assert dict(mpl.rcParams) == before


def test_an_error_leaves_the_old_picture(tmp_path: Path) -> None:
    """What fails while it draws replaces nothing."""
    path = tmp_path / "a.png"
    path.write_bytes(b"old")

    def fail() -> None:
        with pictures.panels(path, 2, rows=2) as axes:
            assert len(axes) == 4
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert path.read_bytes() == b"old"
    assert [one.name for one in tmp_path.iterdir()] == ["a.png"]


def test_lines_differ_without_colour() -> None:
    """Each of the first lines has a different pair of marker and dashes."""
    styles = [pictures.line_style(place) for place in range(len(pictures.COLOURS))]
    assert len({(style["marker"], style["linestyle"]) for style in styles}) == len(styles)
    assert len({style["color"] for style in styles}) == len(styles)


def test_missing_font_is_said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Chinese text without a font for it gives a warning; text without any gives none."""
    monkeypatch.setattr(pictures, "text_font", lambda: None)
    with caplog.at_level(NOTE):
        pictures.warn_of_missing_font("only letters")
        assert not caplog.records
        pictures.warn_of_missing_font("手机")
    assert "font" in caplog.text
