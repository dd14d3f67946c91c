"""Write records of surprisal as TSV, JSONL or Parquet, as a stream."""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from itertools import chain
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, BinaryIO

from lmkit import strict_json
from lmkit.corpus.tsv import escaped, needs_escapes
from lmkit.errors import DataError
from lmkit.evaluation.records import OWN_NAMES, LineRecords, Record

if TYPE_CHECKING:
    import pyarrow as pa

FORMATS = ("tsv", "jsonl", "parquet")

ROW_GROUP = 1 << 16
"""Records of a row group in Parquet, which is in memory."""


def write_records(
    lines: Iterable[LineRecords],
    names: tuple[str, ...],
    form: str,
    sink: BinaryIO,
    types: Mapping[str, type] = MappingProxyType({}),
) -> None:
    """Write the records of a text in UTF-8.

    names: their fields, first those of `facts`, then those of `Record` with further columns before the row, then the
    kept columns. types: those of further columns; the values of others are written as those of kept columns.
    TSV has a header and a line for each record, without quotes, with texts as in `lmkit.corpus.tsv.escaped`.
    Raises DataError if the values of a kept column have several types, which Parquet cannot store.
    """
    if form == "parquet":
        _write_parquet(lines, names, sink, types)
        return
    figures = frozenset((*Record._fields, *types))
    rows = partial(_tsv, figures=figures) if form == "tsv" else _jsonl
    header = "\t".join(names) + "\n" if form == "tsv" else ""
    # The header is written with the first line, so that a refused text leaves stdout empty.
    for line in lines:
        sink.write((header + rows(line)).encode())
        header = ""


def _tsv(records: LineRecords, figures: Collection[str]) -> str:
    """figures: the columns with numbers and truth values of lmkit."""
    columns = dict(records.columns)
    if not columns["text"]:
        return ""
    if needs_escapes("".join(columns["text"])):
        columns["text"] = [escaped(text) for text in columns["text"]]
    cells = [
        values if name == "text" else map(_writer(name, figures), values) for name, values in columns.items()
    ]
    before = "\t".join([*map(escaped, records.facts.values()), str(records.line), ""])
    after = "\t".join(["", str(records.row), *map(_tsv_cell, records.kept.values())])
    rows = map("\t".join, zip(*cells, strict=True))
    between = f"{after}\n{before}"
    return f"{before}{between.join(rows)}{after}\n"


def _writer(name: str, figures: Collection[str]) -> Callable[[object], str]:
    if name in ("start", "end", "surprisal", "oov"):
        return repr  # these are never missing
    return _figure if name in figures else _tsv_cell


def _figure(value: object) -> str:
    return "" if value is None else repr(value)


def _tsv_cell(value: object) -> str:
    """A kept value: null is empty, values other than strings are written as in JSON."""
    value = _as_json(value)
    if value is None:
        return ""
    if isinstance(value, str):
        return escaped(value)
    return repr(value) if isinstance(value, float) else escaped(strict_json.report(value))


def _jsonl(records: LineRecords) -> str:
    names = tuple(records.columns)
    rows = zip(*records.columns.values(), strict=True)
    before = {**records.facts, "line": records.line}
    after = {"row": records.row, **{name: _as_json(value) for name, value in records.kept.items()}}
    tables = ({**before, **dict(zip(names, row, strict=True)), **after} for row in rows)
    return "".join([strict_json.report(table) + "\n" for table in tables])


def _as_json(value: object) -> object:
    """A kept value for JSON: null for NaN, a missing value; dates and bytes of Parquet as text."""
    if isinstance(value, dict):
        return {str(name): _as_json(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_as_json(inner) for inner in value]
    if isinstance(value, float):
        return (
            None if math.isnan(value) else value
        )  # an infinity is null in JSON with the reason, "inf" in TSV
    return value if value is None or isinstance(value, (str, int)) else str(value)


def _write_parquet(
    lines: Iterable[LineRecords], names: tuple[str, ...], sink: BinaryIO, types: Mapping[str, type]
) -> None:
    from pyarrow import parquet

    groups = _groups(lines, names)
    first = next(groups)
    schema = _schema(first, types)
    with parquet.ParquetWriter(sink, schema) as writer:
        for group in chain([first], groups):
            writer.write_table(_table(group, schema))


def _groups(lines: Iterable[LineRecords], names: tuple[str, ...]) -> Iterator[dict[str, list[Any]]]:
    """Columns of ROW_GROUP records or a few more; at least one group, even if empty."""
    waiting: dict[str, list[Any]] = {name: [] for name in names}
    for line in lines:
        count = len(line.columns["text"])
        for name, fact in {**line.facts, "line": line.line, "row": line.row, **line.kept}.items():
            waiting[name] += [fact] * count
        for name, values in line.columns.items():
            waiting[name] += values
        if len(waiting["line"]) >= ROW_GROUP:
            yield waiting
            waiting = {name: [] for name in names}
    yield waiting


def _schema(columns: dict[str, list[Any]], types: Mapping[str, type]) -> "pa.Schema":
    """The types of the columns; kept columns have the type of their first values."""
    import pyarrow as pa

    kinds = {"run": pa.string(), "text": pa.string(), "surprisal": pa.float64()}
    kinds |= {"oov": pa.bool_(), "entropy": pa.float64()}
    kinds |= {name: pa.int64() for name in OWN_NAMES if name not in kinds}
    of_types = {int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    kinds |= {name: of_types[kind] for name, kind in types.items()}
    for name, values in columns.items():
        if name not in kinds:
            found = _array(name, values, None).type
            kinds[name] = pa.string() if pa.types.is_null(found) else found
    return pa.schema([(name, kinds[name]) for name in columns])


def _table(columns: dict[str, list[Any]], schema: "pa.Schema") -> "pa.Table":
    import pyarrow as pa

    arrays = [_array(name, values, schema.field(name).type) for name, values in columns.items()]
    return pa.table(arrays, schema=schema)


def _array(name: str, values: list[Any], kind: "pa.DataType | None") -> "pa.Array":
    import pyarrow as pa

    try:
        return pa.array(values, kind)
    except (pa.ArrowException, TypeError, OverflowError):
        raise DataError(
            f"the kept column '{name}' has values of several types, which Parquet cannot store; "
            "use --format jsonl"
        ) from None
