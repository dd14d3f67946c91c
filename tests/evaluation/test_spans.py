"""Files of spans."""

from pathlib import Path

import pytest

from lmkit.errors import DataError
from lmkit.evaluation.spans import read_spans


@pytest.mark.parametrize(
    "text",
    [
        "line\tstart\tend\n1\t0\t3\n2\t4\t6\n",
        "\ufeffname\tend\tstart\tline\r\nx\t3\t0\t1\r\n\r\ny\t6\t4\t2\r\n",
        '{"line": 1, "start": 0, "end": 3, "name": "x"}\n\n{"line": 2, "start": 4, "end": 6}',
    ],
)
def test_both_formats(tmp_path: Path, text: str) -> None:
    """Columns by name in any order, other ones ignored; blank lines, a byte-order mark and CRLF change nothing."""
    path = tmp_path / "spans"
    path.write_bytes(text.encode())
    assert read_spans(path).spans == [(1, 0, 3), (2, 4, 6)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no spans"),
        ("line\tstart\n1\t0\n", "line 1: the header must have"),
        ("line\tstart\tend\n1\t0\t2\n1\t0\n", "line 3: line, start and end must be whole numbers"),
        ("line\tstart\tend\n1\t-1\t2\n", "line 2: line, start and end must be"),
        ('{"line": 1, "start": 0, "end": 2}\n{"line": 1}\n', "line 2: line, start and end must be"),
        ('{"line": true, "start": 0, "end": 2}', "line 1: line, start and end must be"),
        ('{"line": 1, "start": 0, "end": 2}\n[1]', "line 2: not a JSON object"),
    ],
)
def test_unreadable_lines_are_named(tmp_path: Path, text: str, message: str) -> None:
    """The error has the number of the line in the file and the problem."""
    path = tmp_path / "spans"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_spans(path)
