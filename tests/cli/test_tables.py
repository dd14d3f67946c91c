"""Tables and texts on a terminal: they fit its width, and lose nothing."""

import os
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from lmkit.cli import console
from lmkit.cli.tables import fitted, fold

HEADER = [
    "run",
    "model",
    "bits per byte",
    "word perplexity",
    "parameters",
    "on disk, MB",
    "tokens/s",
    "peak, MB",
]
ROWS = [
    ["novels-gru-256-long", "recurrent (gru)", "2.8512", "1,234.5", "12,345,678", "49.4", "123,456", "1,234"],
    ["手机模型-小", "ngram", "2.6912", "1,034.5", "1,345,678", "9.4", "1,123,456", "234"],
]
WORDS = st.text(st.sampled_from("abc-/ 词语é"), max_size=40)


def drawn(width: int, left: int = 2) -> str:
    return fitted(HEADER, ROWS, left=left, width=width, styled=False)


@pytest.mark.parametrize("width", [24, 40, 60, 80, 120, 200])
def test_a_table_fits_and_keeps_every_number(width):
    """No line is wider than the terminal, and every number is on one line, once."""
    lines = drawn(width).splitlines()
    assert max(map(cell_len, lines)) <= width
    shown = " ".join(lines).split()
    for number in (cell for row in ROWS for cell in row[2:]):
        assert shown.count(number) == 1


def test_a_wide_terminal_has_one_line_a_row():
    """Nothing is folded where there is room."""
    lines = drawn(150).splitlines()
    assert lines[0].split() == " ".join(HEADER).split()
    assert [line.split()[-1] for line in lines[2:]] == ["1,234", "234"]
    assert len(lines) == 4


def test_a_narrow_terminal_folds_titles_first():
    """At 100 columns the titles take several lines, and each run still takes one."""
    lines = drawn(104).splitlines()
    assert sum(line.startswith("─") for line in lines) == 1
    assert "novels-gru-256-long" in lines[-2]


def test_parts_of_a_table_repeat_the_names():
    """Each of the tables that a wide one is divided into begins with the names of the rows."""
    blocks = drawn(60).split("\n\n")
    assert len(blocks) > 1
    assert all("手机模型-小" in block and "ngram" in block for block in blocks)


def test_columns_align_by_cells():
    """A Chinese character takes two columns, a combining accent none."""
    lines = fitted(["词", "b"], [["手机", "1"], ["é", "2"]], left=1, width=40, styled=False).splitlines()
    assert [cell_len(line) for line in lines] == [7, 7, 7, 7]


@given(WORDS, st.integers(2, 30))
def test_folding_loses_nothing(text, width):
    """The lines are at most as wide as asked, and together they are the text but for spaces."""
    lines = fold(text, width)
    assert max(map(cell_len, lines)) <= width
    assert "".join("".join(lines).split()) == "".join(text.split())


def test_folding_breaks_names_at_their_joints():
    """A long word is broken after a hyphen or slash, others only at spaces; later lines are indented."""
    assert fold("runs/novels-gru-256-long", 14) == ["runs/novels-", "gru-256-long"]
    assert fold("top-k and top-p", 9, indent=2) == ["top-k and", "  top-p"]


def test_folding_fills_lines_of_chinese():
    """A line of Chinese is broken anywhere, but begins with no mark, and a cost stays whole at its word."""
    text = "没想到手机摔坏(+6.6)了，所以我要去"
    assert fold(text, 20) == ["没想到手机摔坏(+6.6)", "了，所以我要去"]
    assert fold(text, 17) == ["没想到手机摔", "坏(+6.6)了，所以", "我要去"]
    assert fold("没想到手机摔坏了，", 16) == ["没想到手机摔坏", "了，"]


def test_markdown_where_there_is_no_terminal():
    """Piped tables are Markdown of any width, on a terminal they are not."""
    table = console.table(["a", "b"], [["x|y\n", "1"]])
    assert table.splitlines() == ["| a      |   b |", "| ------ | --: |", "| x\\|y\\n |   1 |"]


def test_styles_are_left_out_with_no_color(monkeypatch):
    """NO_COLOR leaves plain text; names with escapes in them are shown escaped."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[1m" in console.table(["a", "b"], [["x", "1"]])
    monkeypatch.setenv("NO_COLOR", "1")
    shown = console.table(["a", "b"], [["x\x1b[2J", "1"]])
    assert "\x1b" not in shown
    assert "x\\x1b[2J" in shown


def test_figures_fold_beside_their_labels(monkeypatch, capsys):
    """A long value continues under its own beginning."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "30")
    console.write_rows([("signature", "version:0.1 model:recurrent reset:line"), ("n", 3)])
    assert capsys.readouterr().out.splitlines() == [
        "signature  version:0.1",
        "           model:recurrent",
        "           reset:line",
        "n          3",
    ]


def test_the_width_is_that_of_the_terminal(monkeypatch):
    """COLUMNS counts, else the terminal; one that is too narrow for anything is taken for 20."""
    monkeypatch.setenv("COLUMNS", "77")
    assert console.terminal_width() == 77
    monkeypatch.setenv("COLUMNS", "3")
    assert console.terminal_width() == console.LEAST_WIDTH
    monkeypatch.delenv("COLUMNS")
    monkeypatch.setattr(os, "get_terminal_size", lambda fd: os.terminal_size((91, 24)))
    assert console.terminal_width() == 91
