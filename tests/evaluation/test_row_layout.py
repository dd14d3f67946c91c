"""Lines from rows of a table: regions of one sentence, and text that only conditions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmkit.corpus.lines import Line
from lmkit.corpus.words import count_words
from lmkit.errors import DataError, UsageError
from lmkit.evaluation.row_layout import RowLayout, join


def row(number: int, text: str, *kept: object) -> Line:
    return Line(text, len(text.encode()), count_words(text.encode()), True, False, number, "", kept)


@pytest.mark.parametrize(
    ("cells", "text"),
    [
        (["the cat", "sat", "."], "the cat sat ."),
        (["the cat ", "sat", " down"], "the cat sat down"),
        (["the", "", "cat"], "the cat"),
        (["", "the", ""], "the"),
        (["今天", "天气", "OK", "。"], "今天天气OK。"),
        (["", ""], ""),
    ],
)
def test_regions_are_joined_by_the_white_space_that_their_script_needs(cells: list[str], text: str) -> None:
    """A space, unless there is white space already or the script has none; each region keeps its place."""
    found, spans = join(cells)
    assert found == text
    assert [found[start:end] for start, end in spans] == cells


@given(
    st.lists(st.text("ab 天。\t", max_size=4), min_size=1, max_size=6), st.sampled_from([None, "", " ", "_"])
)
def test_every_region_keeps_its_characters(cells: list[str], separator: str | None) -> None:
    """Whatever stands between them, the place of a region has its text, and only separators are added."""
    text, spans = join(cells, separator)
    assert [text[start:end] for start, end in spans] == cells
    assert [start for start, _ in spans] == sorted(start for start, _ in spans)
    assert len(text) - sum(map(len, cells)) <= max(0, sum(map(bool, cells)) - 1)


def test_consecutive_rows_with_one_key_are_a_sentence() -> None:
    """The parts of a line are its rows, with their numbers, their places and the columns that records carry."""
    layout = RowLayout(keep=("region",), sentence=("item", "condition"), prefix="so")
    assert layout.columns == ("region", "item", "condition")
    rows = [
        row(1, "the cat", "subject", 1, "a"),
        row(2, "sat", "verb", 1, "a"),
        row(3, "the dog", "subject", 1, "b"),
    ]
    first, second = layout.lines(rows)
    assert (first.text, first.prefix, first.row, first.kept) == ("so the cat sat", 3, 1, ("subject",))
    assert [(first.text[p.start : p.end], p.row, p.kept) for p in first.parts] == [
        ("the cat", 1, ("subject",)),
        ("sat", 2, ("verb",)),
    ]
    assert (second.text, second.row, len(second.parts), second.num_words) == ("so the dog", 3, 1, 3)


def test_line_ends_within_a_region_are_spaces() -> None:
    """A sentence is one line, whatever its cells contain."""
    lines = [
        Line("the", 3, 1, True, False, 1, "\r\n", (1,)),
        Line("cat", 3, 1, False, False, 1, "", (1,)),
        row(2, "sat", 1),
    ]
    (line,) = RowLayout(sentence=("item",)).lines(lines)
    assert line.text == "the  cat sat"
    assert [(part.start, part.end) for part in line.parts] == [(0, 8), (9, 12)]


def test_rows_of_a_sentence_that_are_not_together_are_refused() -> None:
    """A table in another order would be scored as other sentences."""
    rows = [row(1, "the", 1), row(2, "a", 2), row(3, "cat", 1)]
    with pytest.raises(DataError, match=r"row 3: the sentence with item 1 began in row 1, .*--sentence"):
        list(RowLayout(sentence=("item",)).lines(rows))


def test_prefixes_of_a_column() -> None:
    """Each row has its own; missing and blank ones are none; line ends in them are spaces."""
    layout = RowLayout(keep=("item",), prefix_field="context")
    rows = [row(1, "sat", 1, "the\ncat"), row(2, "sat", 2, None), row(3, "sat", 3, " "), row(4, "", 4, "so")]
    found = list(layout.lines(rows))
    assert [(line.text, line.prefix, line.kept) for line in found] == [
        ("the cat sat", 8, (1,)),
        ("sat", 0, (2,)),
        ("sat", 0, (3,)),
        ("so", 2, (4,)),
    ]
    with pytest.raises(DataError, match="row 1: the prefix in 'context' is a number"):
        list(layout.lines([row(1, "sat", 1, 5)]))
    with pytest.raises(UsageError, match="leave one out"):
        RowLayout(prefix="a", prefix_field="b")
