"""Codes for what word ids drop: the white space between words and the spelling of unknown ones."""

import math
import reprlib
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, Self

import numpy as np

from lmkit.corpus.words import WHITE_SPACE, shown
from lmkit_tokenizers.text import Gaps

BOUNDARY = 256
"""The symbol before the first byte of a word and after its last."""
SYMBOLS = 257

LONGEST_STRING = 64
MOST_STRINGS = 10_000
"""Longer or further strings of white space are left to the escape, which bounds memory."""

_ESCAPED_CHARACTER = math.log2(len(WHITE_SPACE) + 1)
_WORDS_AT_ONCE = 1 << 16


class SpellingCode:
    """A bigram over bytes with an end symbol: 257 outcomes after each byte and at the start of a word.

    counts: (257, 257), how often symbol j follows symbol i; symbol 256 bounds a word on both sides.
    Each row is interpolated with the unigram and that with the uniform distribution (Witten and Bell, 1991),
    so that every string has a finite code; without counts it is uniform.
    """

    def __init__(self, counts: np.ndarray) -> None:
        self.counts = counts
        singles = counts.sum(0)
        kinds = max(int(np.count_nonzero(singles)), 1)
        unigram = (singles + kinds / SYMBOLS) / (singles.sum() + kinds)
        followers = np.maximum(np.count_nonzero(counts, axis=1), 1)[:, None]
        self._bits = -np.log2((counts + followers * unigram) / (counts.sum(1, keepdims=True) + followers))

    @classmethod
    def fit(cls, words: Iterable[bytes]) -> Self:
        """From each word once; words are as in the text or in the form of `lmkit.corpus.words.hidden`."""
        counts = np.zeros(SYMBOLS * SYMBOLS, np.int64)
        words = iter(words)
        while some := list(islice(words, _WORDS_AT_ONCE)):
            symbols = _symbols(some)
            counts += np.bincount(symbols[:-1] * SYMBOLS + symbols[1:], minlength=len(counts))
        return cls(counts.reshape(SYMBOLS, SYMBOLS))

    def bits(self, words: Sequence[bytes]) -> float:
        """The length of the code of all the words."""
        symbols = _symbols(words)
        return float(self._bits[symbols[:-1], symbols[1:]].sum()) if words else 0.0

    def to_table(self) -> list[list[int]]:
        """[symbol, next symbol, count] of all that occurred."""
        rows, columns = np.nonzero(self.counts)
        return np.stack([rows, columns, self.counts[rows, columns]], 1).tolist()

    @classmethod
    def from_table(cls, table: Any) -> Self:
        """What `to_table` gave; ValueError if it is something else."""
        counts = np.zeros((SYMBOLS, SYMBOLS), np.int64)
        if not isinstance(table, list) or len(table) > counts.size:
            raise ValueError("the table of spelling is no list of counts")
        for entry in table:
            if not (isinstance(entry, list) and len(entry) == 3 and all(type(n) is int for n in entry)):
                raise ValueError("an entry of the table of spelling is not three integers")
            row, column, count = entry
            if not (0 <= row < SYMBOLS and 0 <= column < SYMBOLS and 0 < count < 2**40):
                raise ValueError(f"the entry {reprlib.repr(entry)} of the table of spelling is out of range")
            counts[row, column] = count
        return cls(counts)


class SpaceCode:
    """A distribution over strings of white space: those seen, and an escape to one symbol a character.

    The escape has the weight of the types seen plus one (Witten and Bell, 1991), and of what was not counted.
    After it each character, and the end, costs log2 6: white space has five characters.
    """

    def __init__(self, counts: dict[str, int], uncounted: int = 0) -> None:
        self.counts = counts
        self.uncounted = uncounted
        escape = len(counts) + uncounted + 1
        total = sum(counts.values()) + escape
        self._bits = {string: math.log2(total / count) for string, count in counts.items()}
        self._escape = math.log2(total / escape)

    def bits(self, string: str) -> float:
        """The length of the code of one string of white space."""
        known = self._bits.get(string)
        return self._escape + (len(string) + 1) * _ESCAPED_CHARACTER if known is None else known

    def to_table(self) -> dict[str, Any]:
        return {"counts": self.counts, "uncounted": self.uncounted}

    @classmethod
    def from_table(cls, table: Any) -> Self:
        """What `to_table` gave; ValueError if it is something else."""
        if not isinstance(table, dict) or not isinstance(table.get("counts"), dict):
            raise ValueError("a table of white space has no counts")
        counts, uncounted = table["counts"], table.get("uncounted")
        if type(uncounted) is not int or not 0 <= uncounted < 2**60:
            raise ValueError("a table of white space has a bad 'uncounted'")
        for string, count in counts.items():
            if string.strip(WHITE_SPACE) or type(count) is not int or not 0 < count < 2**60:
                raise ValueError(f"the entry {reprlib.repr(string)} of a table of white space is wrong")
        return cls(counts, uncounted)


class LineCode:
    """The three tables of white space: before the first word, between words, after the last.

    The ids tell a decoder how many words there are, so it knows how many strings to read and from which
    table; a line without words is one string of the first.
    """

    places = ("before", "between", "after")

    def __init__(self, before: SpaceCode, between: SpaceCode, after: SpaceCode) -> None:
        self.before = before
        self.between = between
        self.after = after

    def bits(self, gaps: Gaps) -> float:
        """The length of the code of a line's white space."""
        between = math.fsum(count * self.between.bits(string) for string, count in gaps.between.items())
        after = 0.0 if gaps.after is None else self.after.bits(gaps.after)
        return self.before.bits(gaps.before) + between + after

    def to_table(self) -> dict[str, Any]:
        return {place: getattr(self, place).to_table() for place in self.places}

    @classmethod
    def from_table(cls, table: Any) -> Self:
        """What `to_table` gave; ValueError if it is something else."""
        if not isinstance(table, dict):
            raise ValueError("the tables of white space are missing")
        return cls(*(SpaceCode.from_table(table.get(place)) for place in cls.places))


class GapCounter:
    """Counts the white space of training lines in bounded memory."""

    def __init__(self) -> None:
        self._seen = [Counter[str]() for _ in LineCode.places]
        self._uncounted = [0 for _ in LineCode.places]

    def add(self, gaps: Gaps) -> None:
        """Count the white space of a line."""
        self.add_string(0, gaps.before, 1)
        for string, count in gaps.between.items():
            self.add_string(1, string, count)
        if gaps.after is not None:
            self.add_string(2, gaps.after, 1)

    def add_string(self, place: int, string: str, count: int) -> None:
        """Count a string that stood `count` times at one of the places."""
        seen = self._seen[place]
        if string in seen or (len(seen) < MOST_STRINGS and len(string) <= LONGEST_STRING):
            seen[string] += count
        else:
            self._uncounted[place] += count

    def code(self) -> LineCode:
        return LineCode(*(SpaceCode(dict(s), u) for s, u in zip(self._seen, self._uncounted, strict=True)))


def _symbols(words: Iterable[bytes]) -> np.ndarray:
    """The bytes of all words, BOUNDARY before, between and after them; no word has a line feed in it."""
    joined = np.frombuffer(shown(b"\n" + b"\n".join(words) + b"\n"), np.uint8).astype(np.int64)
    joined[joined == ord("\n")] = BOUNDARY
    return joined
