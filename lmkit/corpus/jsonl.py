"""Read JSON Lines: one object per line, each a row."""

import json
from collections.abc import Iterable, Iterator

from lmkit.corpus.decoding import decoded, wrong_bytes
from lmkit.corpus.lines import BadLines
from lmkit.corpus.rows import RepeatedKey, Row, checked_object, kind_of, repeated


def read_jsonl(
    blocks: Iterable[bytes], name: str, field: str, bad: BadLines, *, offset: int = 0
) -> Iterator[Row]:
    """The rows of JSON Lines; blank lines between them are allowed.

    field: for messages, the one with the text. offset: the number of bytes of the file before the blocks.
    """
    for number, raw in enumerate(raw_lines(blocks), start=1):
        if not raw.isspace() and raw:
            bad.row += 1
            row = _row(raw, f"{name}: line {number}", offset, field, bad)
            if row is not None:
                yield row
        offset += len(raw) + 1


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


def _row(raw: bytes, where: str, offset: int, field: str, bad: BadLines) -> Row | None:
    quoted = b'"%s"' % field.rpartition(".")[2].encode()
    if decoded(raw) is None:
        at, problem, remedy = wrong_bytes(raw, bad.sample)
        bad.report(f"{where} (byte {offset + at})", problem, remedy)
        return None
    try:
        value = json.loads(raw)
        if raw.count(quoted) > 1:  # rare, and slow to look into
            value = json.loads(raw, object_pairs_hook=checked_object)
    except json.JSONDecodeError as error:
        bad.report(where, f"not JSON: {error.msg} at column {error.colno}", _remedy(raw))
    except (ValueError, RecursionError):
        bad.report(where, "JSON with too long a number or too deep nesting", "fix the line")
    else:
        if isinstance(value, RepeatedKey):
            bad.report(where, *repeated(value))
            return None
        if isinstance(value, dict):
            return Row(bad.row, where, value)
        bad.report(where, f"{kind_of(value)}, not an object", f'write one {{"{field}": "..."}} per line')
    return None


def _remedy(raw: bytes) -> str:
    if raw.strip() == b"[":
        return "if the file is one JSON array, end its name in .json or give --input-format json"
    if raw.strip() == b"{":
        return "write each object on one line (`jq -c . FILE` does)"
    return "fix the line"
