"""Write rows of figures as TSV, CSV, JSON Lines or Parquet."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from lmkit import strict_json
from lmkit.corpus.tsv import escaped
from lmkit.errors import UsageError, suggest

ROW_FORMATS = ("tsv", "csv", "jsonl", "parquet")

ROW_GROUP = 1 << 16
"""Rows of a Parquet row group, which is in memory."""

Row = Mapping[str, Any]


def row_format(path: Path, form: str | None = None) -> str:
    """The format `form`, or the one of a file's suffix; UsageError if neither is known."""
    form = form or path.suffix[1:].lower()
    if form in ROW_FORMATS:
        return form
    raise UsageError(
        f"{path}: unknown format; use a name ending in .tsv, .csv, .jsonl or .parquet, or give --format "
        f"({suggest(form, ROW_FORMATS)})"
    )


def write_rows(rows: Iterable[Row], columns: Mapping[str, type], form: str, sink: BinaryIO) -> None:
    """Write rows in UTF-8.

    columns: the type of each column, str, int, float or bool; every row has all of them, None if a value is
    missing. TSV is written as in `lmkit.corpus.tsv`, CSV with quotes (RFC 4180, but "\\n" ends a row), both with
    empty cells for missing values. JSON also has null for an infinite number, with the reason (`strict_json.report`).
    """
    if form == "parquet":
        _write_parquet(rows, columns, sink)
        return
    for line in {"tsv": _tsv, "csv": _csv, "jsonl": _jsonl}[form](rows, columns):
        sink.write(line.encode())


def _tsv(rows: Iterable[Row], columns: Mapping[str, type]) -> Iterator[str]:
    yield "\t".join(columns) + "\n"
    for row in rows:
        yield "\t".join(escaped(_cell(row[name])) for name in columns) + "\n"


def _csv(rows: Iterable[Row], columns: Mapping[str, type]) -> Iterator[str]:
    yield _csv_line(columns)
    for row in rows:
        yield _csv_line(_cell(row[name]) for name in columns)


def _csv_line(cells: Iterable[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue()


def _cell(value: object) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _jsonl(rows: Iterable[Row], columns: Mapping[str, type]) -> Iterator[str]:
    for row in rows:
        yield strict_json.report({name: row[name] for name in columns}) + "\n"


def _write_parquet(rows: Iterable[Row], columns: Mapping[str, type], sink: BinaryIO) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    kinds = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    schema = pa.schema([(name, kinds[kind]) for name, kind in columns.items()])
    with parquet.ParquetWriter(sink, schema) as writer:
        rows = iter(rows)
        while group := [dict(row) for row in islice(rows, ROW_GROUP)]:
            writer.write_table(pa.Table.from_pylist(group, schema))
