"""Join a list of words into a text, with the place of each word in it."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from enum import Enum
from itertools import pairwise, zip_longest
from typing import overload

from lmkit.corpus.writing_systems import UNSPACED
from lmkit.errors import UsageError

_FORMS = (
    "\u2e80-\u303f\u3190-\u319f\u31c0-\u31ef\u3200-\u33ff\ufe10-\ufe1f\ufe30-\ufe4f\uff00-\uff9f\uffe0-\uffe6"
)
"""Radicals, punctuation of Chinese and Japanese, and full-width forms."""
_UNSPACED = re.compile(f"[{UNSPACED}{_FORMS}]")
_MARKS = ("Mn", "Me", "Mc", "Cf")
"""Unicode categories of characters that belong to the one before them."""


class Words(Sequence[str]):
    """A list of the words of a sentence, with the text between them.

    `Words(["I", "walk"])` are words without a known text: a separator joins them; None chooses it by their script
    (`separators`). `Words.of("I walk.", [(0, 1), (2, 6), (6, 7)])` are words of this text, which is used unchanged.
    """

    def __init__(self, words: Iterable[str], separator: str | None = None) -> None:
        self._words = tuple(words)
        self.separator = separator
        self.text: str | None = None
        self.spans: tuple[tuple[int, int], ...] = ()
        """With a text: the characters [start, end) of each word."""

    @classmethod
    def of(cls, text: str, spans: Iterable[tuple[int, int]]) -> "Words":
        """The words at these characters [start, end) of a text."""
        found = tuple((int(start), int(end)) for start, end in spans)
        words = cls(text[start:end] for start, end in found)
        words.text, words.spans = text, found
        return words

    def __len__(self) -> int:
        return len(self._words)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        return self._words[index]

    def __repr__(self) -> str:
        return (
            f"Words({list(self._words)!r})"
            if self.text is None
            else f"Words.of({self.text!r}, {self.spans!r})"
        )


def refuse_one_string(strings: object, what: str) -> None:
    """Raise UsageError for anything but a list, also for a string, which would be iterated by characters."""
    if not isinstance(strings, Iterable):
        raise UsageError(f"the {what} are of the type {type(strings).__name__}; give a list of strings")
    if isinstance(strings, (str, bytes)):
        raise UsageError(f"one string is not a list of {what}; give a list, such as [text]")


class _Edge(Enum):
    """The kind of a word's first or last character, which decides whether there is a space beside it."""

    UNSPACED = ""
    SPACED = " "
    NEUTRAL = None


def separators(words: Sequence[str]) -> list[str]:
    """The separator between adjacent words, by their script: a space, or "".

    "" if one of the two adjacent characters belongs to a script without spaces between words (Chinese, Japanese,
    Thai and others) or to its punctuation: such text has no spaces around foreign words and numbers either. Between
    digits, marks and symbols, which all scripts share, the last letter before them decides, or the first after them.
    """
    if all(map(str.isascii, words)):
        return [" "] * (len(words) - 1)
    edges = [(_edge(word), _edge(word[::-1])) for word in words]
    found: list[str] = []
    near = next(filter(None, map(_first_letter, words)), _Edge.SPACED)
    for word, ((_, before), (after, _)) in zip(words, pairwise(edges), strict=False):
        near = _first_letter(word[::-1]) or near
        pair = (before, after)
        if pair == (_Edge.NEUTRAL, _Edge.NEUTRAL):
            kind = near
        else:
            kind = _Edge.UNSPACED if _Edge.UNSPACED in pair else _Edge.SPACED
        found.append("" if kind is _Edge.UNSPACED else " ")
    return found


def joined(words: Sequence[str], between: Sequence[str]) -> tuple[str, list[tuple[int, int]]]:
    """The text of words with these strings between them, and the characters [start, end) of each."""
    parts, spans, at = [], [], 0
    for word, gap in zip_longest(words, between, fillvalue=""):
        parts += [word, gap]
        spans.append((at, at + len(word)))
        at += len(word) + len(gap)
    return "".join(parts), spans


def _edge(word: str) -> _Edge:
    """The kind of a word's first character; marks such as accents are skipped."""
    return next((kind for kind in map(_kind, word) if kind), _Edge.NEUTRAL)


def _first_letter(word: str) -> _Edge | None:
    """The kind of the first letter in a word; None without a letter."""
    return next((kind for kind in map(_kind, word) if kind not in (None, _Edge.NEUTRAL)), None)


def _kind(character: str) -> _Edge | None:
    """The kind of a character; None if it belongs to the one before it."""
    if _UNSPACED.match(character):
        return _Edge.UNSPACED
    category = unicodedata.category(character)
    if category in _MARKS:
        return None
    return _Edge.SPACED if category.startswith("L") else _Edge.NEUTRAL
