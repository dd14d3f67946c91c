"""Read a JSON array of objects or strings, each a row, in bounded memory."""

import codecs
import json
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from lmkit.corpus.lines import BadLines
from lmkit.corpus.rows import RepeatedKey, Row, checked_object, kind_of, repeated
from lmkit.errors import DataError

ITEM_LIMIT = 1 << 27
"""Characters of an item; a longer one is treated as a string or bracket that is never closed."""
_BLANKS = " \t\n\r"
_CUT = 16
"""An error this close to the end of the buffer may go away with more data: `fals` becomes `false`."""


def starts_array(blocks: Iterator[bytes]) -> tuple[bool, Iterator[bytes]]:
    """Whether the first character is "[", and the same blocks."""
    head: list[bytes] = []
    for block in blocks:
        head.append(block)
        if found := block.lstrip():
            return found.startswith(b"[") and b"\0" not in block, chain(head, blocks)
    return False, iter(head)


def read_array(blocks: Iterable[bytes], name: str, field: str, bad: BadLines) -> Iterator[Row]:
    """The rows of an array; a string is the value of `field`. DataError if it is not JSON, even if bad rows
    are skipped, since the beginning of the next item is unknown."""
    before = bad.row
    for line, value in _Items(blocks, name):
        bad.row += 1
        where = f"{name}: line {line}, row {bad.row - before}"
        if isinstance(value, str):
            value = {field: value}
        if isinstance(value, RepeatedKey):
            bad.report(where, *repeated(value))
        elif isinstance(value, dict):
            yield Row(bad.row, where, value)
        else:
            bad.report(where, f"{kind_of(value)}, not an object or a string", f'write {{"{field}": "..."}}')


class _Items:
    """The items of an array, with the numbers of their first lines."""

    def __init__(self, blocks: Iterable[bytes], name: str) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._texts = chain(map(decoder.decode, blocks), (decoder.decode(b"", True) for _ in range(1)))
        self._name = name
        self._text = ""
        self._at = 0
        self._line = 1
        self._decode = json.JSONDecoder(object_pairs_hook=checked_object).raw_decode

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        self._expect("[")
        if self._peek() == "]":
            self._expect("]")
        else:
            while True:
                self._peek()
                yield self._line, self._value()
                if self._peek() == "]":
                    break
                self._expect(",")
            self._expect("]")
        if self._peek():
            raise self._error("data after the end of the array", "keep one array in a file")

    def _value(self) -> Any:
        while True:
            try:
                value, end = self._decode(self._text, self._at)
            except json.JSONDecodeError as error:
                cut = error.msg.startswith("Unterminated") or len(self._text) - error.pos < _CUT
                if cut and self._more():
                    continue
                self._skip_to(error.pos)
                raise self._error(f"not JSON: {error.msg}", "fix the file") from None
            except (ValueError, RecursionError):
                raise self._error("JSON with too long a number or too deep nesting", "fix the file") from None
            self._skip_to(end)
            return value

    def _peek(self) -> str:
        """The next character that is not blank, left in the buffer; "" at the end of the file."""
        while True:
            rest = len(self._text)
            at = self._at
            while at < rest and self._text[at] in _BLANKS:
                at += 1
            self._skip_to(at)
            if at < rest:
                return self._text[at]
            if not self._more():
                return ""

    def _expect(self, character: str) -> None:
        found = self._peek()
        if found != character:
            problem = (
                f"not JSON: '{character}' is missing before {found!r}" if found else "the array has no end"
            )
            raise self._error(problem, "fix the file")
        self._at += 1

    def _more(self) -> bool:
        """Double the buffer, so that a long item is not parsed too often. False at the end."""
        held = self._text[self._at :]
        if len(held) > ITEM_LIMIT:
            raise self._error("an item longer than 128 MiB, or a quote that is never closed", "fix the file")
        found: list[str] = []
        size = 0
        for text in self._texts:
            found.append(text)
            size += len(text)
            if size > len(held):
                break
        self._text, self._at = held + "".join(found), 0
        return size > 0

    def _skip_to(self, at: int) -> None:
        self._line += self._text.count("\n", self._at, at)
        self._at = at

    def _error(self, problem: str, remedy: str) -> DataError:
        return DataError(f"{self._name}: line {self._line}: {problem}; {remedy}")
