"""Read the fields of a request, and refuse those that are unknown or wrong by name."""

import math
from collections.abc import Collection, Mapping
from typing import Any

from lmkit.serve.errors import LONGEST_SHOWN, ApiError, invalid, shown


class Fields:
    """The fields of a request's JSON; null is the same as a missing field.

    known: their names. Raises ApiError for a body that is not an object, and for unknown fields with a value.
    """

    def __init__(self, body: Any, known: Collection[str]) -> None:
        if not isinstance(body, dict):
            raise ApiError(400, f"the request is {_kind(body)}: send a JSON object")
        self._given: Mapping[str, Any] = {name: value for name, value in body.items() if value is not None}
        for name in self._given:
            if name not in known:
                raise ApiError(
                    400,
                    f"unknown field {shown(name)}; known: {', '.join(known)}",
                    param=name[:LONGEST_SHOWN],
                    code="unknown_field",
                )

    def __contains__(self, name: str) -> bool:
        return name in self._given

    def get(self, name: str) -> Any:
        """The value as it was given, or None."""
        return self._given.get(name)

    def text(self, name: str) -> str | None:
        """A string."""
        value = self.get(name)
        if value is not None and not isinstance(value, str):
            raise invalid(name, f"is {_kind(value)}, not a text")
        return value if value is None else checked_text(name, value)

    def flag(self, name: str, default: bool = False) -> bool:
        """true or false."""
        value = self.get(name)
        if value is not None and not isinstance(value, bool):
            raise invalid(name, f"is {_kind(value)}, not true or false")
        return default if value is None else value

    def whole(self, name: str, default: int, least: int, most: int | None = None) -> int:
        """A whole number from `least` to `most`."""
        value = self.get(name)
        if value is None:
            return default
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise invalid(name, f"is {_kind(value)}; give a whole number")
        if value < least or (most is not None and value > most):
            bounds = f"from {least}" + ("" if most is None else f" to {most}")
            raise invalid(name, f"is {_number(value)}; give a number {bounds}")
        return value

    def number(self, name: str, default: float, least: float, most: float) -> float:
        """A number from `least` to `most`."""
        value = self.get(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise invalid(name, f"is {_kind(value)}; give a number")
        if not least <= value <= most:  # also for NaN
            raise invalid(name, f"is {_number(value)}; give a number from {least:g} to {most:g}")
        return float(value)

    def texts(self, name: str) -> list[str] | None:
        """A string, or a list of strings, as a list."""
        value = self.get(name)
        if value is None:
            return None
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, list):
            raise invalid(name, f"is {_kind(value)}; give a text or a list of texts")
        for item in items:
            if not isinstance(item, str):
                raise invalid(name, f"has {_kind(item)} in its list; give a text or a list of texts")
        return [checked_text(name, item) for item in items]

    def one_of(self, name: str, known: Collection[str], default: str) -> str:
        """One of some strings."""
        value = self.text(name)
        if value is not None and value not in known:
            raise invalid(name, f"is {shown(value)}; give {', '.join(known)}")
        return default if value is None else value


def checked_text(name: str, text: str) -> str:
    """A string of a request; 400 for half a surrogate pair, which JSON can spell but no text contains."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise invalid(
            name,
            f"character {error.start} is U+{ord(text[error.start]):04X}, half a surrogate pair, which is no text",
        ) from None
    return text


def _number(value: float) -> str:
    if isinstance(value, int) and value.bit_length() > 64:
        return "too large"
    return f"{value:g}" if isinstance(value, float) and math.isfinite(value) else str(value)


def _kind(value: Any) -> str:
    """A JSON value in words: a number itself, of others the type."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return _number(value)
    kinds = {str: "a text", list: "a list", dict: "an object"}
    return kinds.get(type(value), type(value).__name__)
