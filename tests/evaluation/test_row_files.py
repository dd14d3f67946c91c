"""Rows of figures in every format: what is written is read back."""

import csv
import io
import json
import math
from pathlib import Path

import pytest

from lmkit.corpus.sources import read_rows
from lmkit.errors import UsageError
from lmkit.evaluation.row_files import ROW_FORMATS, row_format, write_rows

COLUMNS: dict[str, type] = {"text": str, "count": int, "score": float, "is_tie": bool}
ROWS = [
    {"text": 'He said "no",\tso.', "count": 3, "score": -1.5, "is_tie": True},
    {"text": "a\\b\nc", "count": 0, "score": -math.inf, "is_tie": False},
    {"text": "我", "count": 1, "score": None, "is_tie": False},
]


def written(form: str) -> bytes:
    sink = io.BytesIO()
    write_rows(ROWS, COLUMNS, form, sink)
    return sink.getvalue()


def test_tsv() -> None:
    """Nothing is quoted; what would break a row is escaped."""
    lines = written("tsv").decode().split("\n")
    assert lines == [
        "text\tcount\tscore\tis_tie",
        'He said "no",\\tso.\t3\t-1.5\ttrue',
        "a\\\\b\\nc\t0\t-inf\tfalse",
        "我\t1\t\tfalse",
        "",
    ]


def test_csv() -> None:
    """Python's own csv reads the same cells."""
    cells = list(csv.reader(io.StringIO(written("csv").decode())))
    assert cells[0] == list(COLUMNS)
    assert [row[0] for row in cells[1:]] == [row["text"] for row in ROWS]
    assert [row[2] for row in cells[1:]] == ["-1.5", "-inf", ""]


def test_jsonl() -> None:
    """No bare infinity, which is not JSON."""

    def refuse(name: str) -> None:
        raise AssertionError(name)

    rows = [json.loads(line, parse_constant=refuse) for line in written("jsonl").splitlines()]
    reason = rows[1].pop("withheld")
    assert rows == [ROWS[0], {**ROWS[1], "score": None}, ROWS[2]]
    assert "infinite" in reason["score"]


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_what_is_written_is_read(tmp_path: Path, form: str) -> None:
    """The rows come back through lmkit's own reader, in the types of the format."""
    file = tmp_path / f"rows.{form}"
    file.write_bytes(written(form))
    found = [cells for _, cells in read_rows(file)]
    assert [cells["text"] for cells in found] == [row["text"] for row in ROWS]
    if form != "csv":
        assert [cells["count"] for cells in found] == [3, 0, 1]
        assert [cells["is_tie"] for cells in found] == [True, False, False]


def test_formats() -> None:
    """By the option, else by the name; a name that says nothing is an error with the remedy."""
    assert row_format(Path("a.TSV")) == "tsv"
    assert row_format(Path("a.txt"), "csv") == "csv"
    for name in ("a.txt", "pairs"):
        with pytest.raises(UsageError, match="--format"):
            row_format(Path(name))
    assert set(ROW_FORMATS) == {"tsv", "csv", "jsonl", "parquet"}
