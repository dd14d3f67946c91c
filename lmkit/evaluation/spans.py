"""Read files of spans: the characters of lines to score."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmkit.errors import DataError, reason_of

Span = tuple[int, int, int]
"""A line from 1, and its characters [start, end)."""

FIELDS = ("line", "start", "end")


@dataclass(frozen=True)
class SpanFile:
    """The spans of a file, and the other columns by name, with a value for each span (None if it has none)."""

    spans: list[Span]
    columns: dict[str, list[Any]]


def read_spans(path: Path) -> SpanFile:
    """The spans in a TSV file (columns `line`, `start`, `end`) or a JSONL file (objects with these keys).

    A DataError gives the number of the unreadable line.
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
    found = [(_span(path, number, row), row) for number, row in read(path, rows)]
    names = dict.fromkeys(name for _, row in found for name in row if name not in FIELDS)
    return SpanFile(
        [span for span, _ in found], {name: [row.get(name) for _, row in found] for name in names}
    )


def _jsonl(path: Path, rows: list[tuple[int, str]]) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, row in rows:
        try:
            table = json.loads(row)
        except (ValueError, RecursionError):
            table = None
        if not isinstance(table, dict):
            raise DataError(f"{path}: line {number}: not a JSON object; {_needed()}")
        yield number, table


def _tsv(path: Path, rows: list[tuple[int, str]]) -> Iterator[tuple[int, dict[str, Any]]]:
    header = rows[0][1].rstrip("\r").split("\t")
    if not set(FIELDS) <= set(header):
        raise DataError(
            f"{path}: line {rows[0][0]}: the header must have the columns line, start and end, separated by tabs"
        )
    for number, row in rows[1:]:
        cells: dict[str, Any] = dict(zip(header, row.rstrip("\r").split("\t"), strict=False))
        whole = {name: int(cells[name]) for name in FIELDS if _is_number(cells.get(name, ""))}
        yield number, {**cells, **whole}


def _is_number(cell: str) -> bool:
    return cell.isascii() and cell.isdigit()


def _span(path: Path, number: int, row: dict[str, Any]) -> Span:
    values: list[Any] = [row.get(name) for name in FIELDS]
    if not all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        raise DataError(f"{path}: line {number}: {_needed()}")
    line, start, end = values
    return line, start, end


def _needed() -> str:
    return "line, start and end must be whole numbers"
