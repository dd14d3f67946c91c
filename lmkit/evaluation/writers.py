"""Records of surprisal as TSV, JSONL or Parquet, written as they come."""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from lmkit import strict_json
from lmkit.errors import UsageError
from lmkit.evaluation.records import LineRecords

FORMATS = ("tsv", "jsonl", "parquet")

ROW_GROUP = 1 << 16
"""Records of a row group in Parquet: what is held in memory."""

_ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r", "\0": r"\0"})
_TO_ESCAPE = re.compile(r"[\\\t\n\r\0]")


def write_records(lines: Iterable[LineRecords], names: tuple[str, ...], form: str, sink: BinaryIO) -> None:
    """Write the records of a text in UTF-8; names: the fields that they have, those of `facts` first.

    TSV has a header and a line for each record: a backslash, tab, line feed, carriage return or NUL in a text
    is written as \\\\, \\t, \\n, \\r or \\0, and nothing is quoted.
    """
    if form == "parquet":
        _write_parquet(lines, names, sink)
        return
    rows = {"tsv": _tsv, "jsonl": _jsonl}[form]
    header = "\t".join(names) + "\n" if form == "tsv" else ""
    # The header goes with the first line, so that a text that is refused leaves nothing on stdout.
    for line in lines:
        sink.write((header + rows(line)).encode())
        header = ""


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """A file that gets its name when all of it is written, and does not appear if writing fails.

    Raises UsageError where no file can be made. An older file of that name is replaced.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        raise UsageError(f"{path} is not a file; name one with --out, or leave it out to write to stdout")
    hidden = path.with_name(f".{path.name}.part")
    try:
        file = hidden.open("wb")
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written ({error.strerror}); name another file with --out"
        ) from None
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        hidden.replace(path)
    except OSError as error:
        if error.filename is not None:
            raise  # of another file, such as the text that is read meanwhile
        raise UsageError(
            f"{path} cannot be written ({error.strerror}); make room, or name another file with --out"
        ) from error
    finally:
        hidden.unlink(missing_ok=True)


def _tsv(records: LineRecords) -> str:
    columns = dict(records.columns)
    if _TO_ESCAPE.search("".join(columns["text"])):
        columns["text"] = [text.translate(_ESCAPES) for text in columns["text"]]
    cells = [values if name == "text" else map(repr, values) for name, values in columns.items()]
    facts = [fact.translate(_ESCAPES) for fact in records.facts.values()]
    before = "\t".join([*facts, str(records.line), ""])
    return "".join([f"{before}{row}\n" for row in map("\t".join, zip(*cells, strict=True))])


def _jsonl(records: LineRecords) -> str:
    names = tuple(records.columns)
    rows = zip(*records.columns.values(), strict=True)
    tables = ({**records.facts, "line": records.line, **dict(zip(names, row, strict=True))} for row in rows)
    return "".join([strict_json.report(table) + "\n" for table in tables])


def _write_parquet(lines: Iterable[LineRecords], names: tuple[str, ...], sink: BinaryIO) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    kinds = {
        "run": pa.string(),
        "text": pa.string(),
        "surprisal": pa.float64(),
        "oov": pa.bool_(),
        "entropy": pa.float64(),
    }
    schema = pa.schema([(name, kinds.get(name, pa.int64())) for name in names])
    with parquet.ParquetWriter(sink, schema) as writer:
        waiting: dict[str, list] = {name: [] for name in names}
        for line in lines:
            for name, fact in {**line.facts, "line": line.line}.items():
                waiting[name] += [fact] * len(line.columns["text"])
            for name, values in line.columns.items():
                waiting[name] += values
            if len(waiting["line"]) >= ROW_GROUP:
                writer.write_table(pa.table(waiting, schema))
                waiting = {name: [] for name in names}
        writer.write_table(pa.table(waiting, schema))
