"""JSON in and out by RFC 8259 alone: no NaN or Infinity is written, and a file that is not sound is an error."""

import json
import math
import reprlib
from pathlib import Path
from typing import Any

from lmkit.files import read_bounded

LARGEST_FILE = 1 << 26
"""Bytes of a file; what lmkit writes is far smaller."""
DEEPEST = 64
"""Levels of nesting; what lmkit writes has a handful."""

WITHHELD = "withheld"
"""The key under which an object says why some of its values are null."""


def dumps(value: Any, *, ascii_only: bool = True, indent: int | None = None, sort_keys: bool = False) -> str:
    """The JSON of a value for lmkit's own files; ValueError for NaN and infinities, which JSON does not have."""
    return json.dumps(value, ensure_ascii=ascii_only, indent=indent, sort_keys=sort_keys, allow_nan=False)


def report(value: Any) -> str:
    """The JSON of results, in one line.

    NaN and infinities become null, and the innermost object that holds one says why under "withheld", by key.
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
    """The same with null in place of numbers that JSON does not have, and the reasons beside it."""
    if isinstance(value, dict):
        found = {key: _finite(item) for key, item in value.items()}
        reasons = {key: why for key, item in value.items() if (why := _reason(item))}
        return {**found, WITHHELD: {**found.get(WITHHELD, {}), **reasons}} if reasons else found
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if _reason(value) else value


def _reason(value: Any) -> str | None:
    """Why a number, or one in a list, cannot be written; None where it can."""
    if isinstance(value, (list, tuple)):
        return next(filter(None, map(_reason, value)), None)
    if not isinstance(value, float) or math.isfinite(value):
        return None
    if math.isnan(value):
        return "not a number: there is nothing to compute it from, or NaN in the model"
    return "infinite: a probability is zero, or a number too large"


def read(path: Path, largest: int = LARGEST_FILE) -> Any:
    """The value in a file that nobody vouches for.

    Raises OSError where it cannot be read, ValueError, saying what is wrong, where it is too large or not sound.
    """
    return parse(read_bounded(path, largest))


def parse(data: bytes) -> Any:
    """The value in UTF-8 JSON (RFC 8259); ValueError, saying what is wrong, if it is not sound."""
    try:
        value = json.loads(data.decode(), object_pairs_hook=_table)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not UTF-8") from None
    _check_depth(value)
    return value


def _check_depth(value: Any) -> None:
    """ValueError for what Python parses, but could not print or copy from within a few calls."""
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
        raise ValueError(f"the key {reprlib.repr(twice)} stands in it twice")
    return table
