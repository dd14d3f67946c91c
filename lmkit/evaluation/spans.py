"""Read files of spans: the characters of lines to score."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lmkit.errors import DataError, reason_of

Span = tuple[int, int, int]
"""A line from 1, and its characters [start, end)."""

FIELDS = ("line", "start", "end")


def read_spans(path: Path) -> list[Span]:
    """The spans in a TSV file (columns `line`, `start`, `end`) or a JSONL file (objects with these keys).

    Other columns and keys are ignored. A DataError gives the number of the unreadable line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        problem = reason_of(error) if isinstance(error, OSError) else "it is not UTF-8"
        raise DataError(f"{path}: {problem}; give a TSV or JSONL file of spans") from None
    rows = [(number, row) for number, row in enumerate(text.split("\n"), 1) if row.strip()]
    if not rows:
        raise DataError(f"{path}: no spans; give at least one line, start and end")
    read = _jsonl if rows[0][1].lstrip().startswith("{") else _tsv
    return list(read(path, rows))


def _jsonl(path: Path, rows: list[tuple[int, str]]) -> Iterator[Span]:
    for number, row in rows:
        try:
            table = json.loads(row)
        except (ValueError, RecursionError):
            table = None
        if not isinstance(table, dict):
            raise DataError(f"{path}: line {number}: not a JSON object; {_needed()}")
        yield _span(path, number, [table.get(name) for name in FIELDS])


def _tsv(path: Path, rows: list[tuple[int, str]]) -> Iterator[Span]:
    header = rows[0][1].rstrip("\r").split("\t")
    if not set(FIELDS) <= set(header):
        raise DataError(
            f"{path}: line {rows[0][0]}: the header must have the columns line, start and end, separated by tabs"
        )
    places = [header.index(name) for name in FIELDS]
    for number, row in rows[1:]:
        cells = row.rstrip("\r").split("\t")
        numbers = [cells[p] if p < len(cells) else "" for p in places]
        yield _span(path, number, [int(n) if n.isascii() and n.isdigit() else n for n in numbers])


def _span(path: Path, number: int, values: list[Any]) -> Span:
    if not all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        raise DataError(f"{path}: line {number}: {_needed()}")
    line, start, end = values
    return line, start, end


def _needed() -> str:
    return "line, start and end must be whole numbers"
