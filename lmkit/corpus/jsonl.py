"""JSON Lines: one object a line, each a document."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from lmkit.corpus.decoding import wrong_bytes
from lmkit.corpus.lines import BadLines, Line, LineReader

_KINDS = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}


def read_jsonl(
    blocks: Iterable[bytes], name: str, field: str, bad: BadLines, *, offset: int = 0
) -> Iterator[Line]:
    """The lines of every row's text; blank lines between rows are allowed.

    offset: how many bytes of the file came before the blocks.
    """
    for number, raw in enumerate(raw_lines(blocks), start=1):
        if not raw.isspace() and raw:
            yield from _row(raw, f"{name}: line {number}", offset, field, bad)
        offset += len(raw) + 1


def row_lines(row: Any, where: str, field: str, bad: BadLines) -> Iterator[Line]:
    """The lines of one row, a table from names to values; null is no text."""
    if not isinstance(row, dict):
        bad.report(where, f"{_kind(row)}, not an object", f'write one {{"{field}": "..."}} a line')
    elif field not in row:
        has = ", ".join(map(repr, row)) or "none"
        bad.report(where, f"no field '{field}'; its fields are {has}", "name one with --text-field")
    elif not isinstance(row[field], str):
        bad.report(where, f"the field '{field}' is {_kind(row[field])}, not a string", "mend it")
    else:
        raw = row[field].encode("utf-8", "surrogatepass")
        yield from LineReader(lambda line, byte: f"{where}, field '{field}'", bad).read([raw])


def raw_lines(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Lines of any length, whole and without "\\n"."""
    parts: list[bytes] = []
    for block in blocks:
        first, *more = block.split(b"\n")
        parts.append(first)
        for raw in more:
            yield b"".join(parts)
            parts = [raw]
    if last := b"".join(parts):
        yield last


def _row(raw: bytes, where: str, offset: int, field: str, bad: BadLines) -> Iterator[Line]:
    try:
        row = json.loads(raw.decode())
    except UnicodeDecodeError:
        at, problem, remedy = wrong_bytes(raw)
        bad.report(f"{where} (byte {offset + at})", problem, remedy)
    except json.JSONDecodeError as error:
        bad.report(where, f"not JSON: {error.msg} at column {error.colno}", "mend it")
    except (ValueError, RecursionError):
        bad.report(where, "JSON with a number too long or nested too deep", "mend it")
    else:
        yield from row_lines(row, where, field, bad)


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), "a number")
