"""Read and write strict JSON (RFC 8259): NaN and Infinity are never written, and an invalid file is an error."""

import json
import math
import reprlib
from pathlib import Path
from typing import Any

from lmkit.files import read_bounded

LARGEST_FILE = 1 << 26
"""Bytes of a file; files of lmkit are far smaller."""
DEEPEST = 64
"""Levels of nesting; files of lmkit have a handful."""

WITHHELD = "withheld"
"""The key of the reasons why some values of an object are null."""


def dumps(value: Any, *, ascii_only: bool = True, indent: int | None = None, sort_keys: bool = False) -> str:
    """The JSON of a value for lmkit's own files; ValueError for NaN and infinities, which JSON does not have."""
    return json.dumps(value, ensure_ascii=ascii_only, indent=indent, sort_keys=sort_keys, allow_nan=False)


def report(value: Any) -> str:
    """The JSON of results, in one line.

    NaN and infinities become null; the innermost object around one gives the reason under "withheld", by key.
    """
    try:
        text = dumps(value, ascii_only=False)
    except ValueError:
        text = dumps(_finite(value), ascii_only=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair, as in the name of a file that is not UTF-8
        return dumps(_finite(value))
    return text


def _finite(value: Any) -> Any:
    """Replace numbers that JSON lacks by null, and add the reasons."""
    if isinstance(value, dict):
        found = {key: _finite(item) for key, item in value.items()}
        reasons = {key: why for key, item in value.items() if (why := _reason(item))}
        return {**found, WITHHELD: {**found.get(WITHHELD, {}), **reasons}} if reasons else found
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if _reason(value) else value


def _reason(value: Any) -> str | None:
    """The reason why a number, or one in a list, cannot be written, or None."""
    if isinstance(value, (list, tuple)):
        return next(filter(None, map(_reason, value)), None)
    if not isinstance(value, float) or math.isfinite(value):
        return None
    if math.isnan(value):
        return "not a number: there is nothing to compute it from, or NaN in the model"
    return "infinite: a probability is zero, or a number is too large"


def read(path: Path, largest: int = LARGEST_FILE) -> Any:
    """The value in an untrusted file.

    Raises OSError if it cannot be read, ValueError, with the reason, if it is too large or invalid.
    """
    return parse(read_bounded(path, largest))


def parse(data: bytes) -> Any:
    """The value in UTF-8 JSON (RFC 8259); ValueError, with the reason, if it is invalid."""
    try:
        value = json.loads(data.decode(), object_pairs_hook=_table)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not UTF-8") from None
    _check_depth(value)
    return value


def _check_depth(value: Any) -> None:
    """Raise ValueError for values so deeply nested that Python parses them but cannot print or copy them."""
    level = [value]
    for _ in range(DEEPEST):
        inner = [
            item.values() if isinstance(item, dict) else item
            for item in level
            if isinstance(item, (dict, list))
        ]
        level = [child for children in inner for child in children]
    if level:
        raise ValueError("nested too deeply")


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise ValueError(f"the key {reprlib.repr(twice)} occurs twice")
    return table
