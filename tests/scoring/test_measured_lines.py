"""Lines and rows in one piece."""

from lmkit.corpus.lines import Line
from lmkit.scoring.measured_lines import whole_lines, whole_rows


def line(
    text: str, *, continues: bool = False, row: int = 0, ending: str = "", document: bool = False
) -> Line:
    return Line(text, len(text.encode()), len(text.split()), document, continues, row, ending)


def test_pieces_are_joined() -> None:
    """A line in three pieces is one, with the sums of its sizes; the next one is separate."""
    pieces = [
        line("ab ", continues=True, document=True),
        line("é ", continues=True),
        line("c"),
        line("d e"),
    ]
    first, second = whole_lines(pieces)
    assert (first.text, first.num_bytes, first.num_words) == ("ab é c", 7, 3)
    assert first.starts_document
    assert (second.text, second.num_bytes, second.num_words) == ("d e", 3, 2)
    assert not second.starts_document


def test_plain_lines_are_numbered() -> None:
    """Without row numbers every line is the next row, at its beginning."""
    assert [(found.row, found.at) for found in whole_lines([line("a"), line("b")])] == [(1, 0), (2, 0)]


def test_places_in_a_cell() -> None:
    """Lines of one row count their place in it, line ends included; the next row begins at 0."""
    pieces = [
        line("ab", row=3, ending="\r\n"),
        line("cd", row=3, ending="\n"),
        line("e", row=3),
        line("f", row=5),
    ]
    assert [(found.row, found.at) for found in whole_lines(pieces)] == [(3, 0), (3, 4), (3, 7), (5, 0)]


def test_rows_in_one_piece() -> None:
    """The line ends in a cell become spaces, of one byte each; words are the sum."""
    pieces = [line("a b", row=1, ending="\r\n", document=True), line("c", row=1), line("d", row=2)]
    first, second = whole_rows(pieces)
    assert (first.text, first.num_bytes, first.num_words, first.ending) == ("a b c", 5, 3, "")
    assert first.starts_document
    assert (second.text, second.row) == ("d", 2)
