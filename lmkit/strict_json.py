"""JSON that nobody vouches for: a key twice, an odd encoding or deep nesting is an error, never a guess."""

import json
import reprlib
from typing import Any

DEEPEST = 64
"""Levels of nesting; what lmkit writes has a handful."""


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
