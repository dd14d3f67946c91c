"""Residual codes: the cost in bits of white space and unknown words, which ids drop (docs/scores.md).

For tokenizers whose tokens are words. `ResidualCounter` counts both in training text, `WordResidual` is the code:

    seen = ResidualCounter()
    for line in lines:
        seen.add(line, spans(line))                            # in fit
    residual = seen.code(vocabulary)
    residual.bits(line, encoding.spans, encoding.ids == UNK)   # in residual_bits
"""

import math
import re
import reprlib
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple, Self

import numpy as np

from lmkit.corpus.words import WHITE_SPACE
from lmkit.spelling import SYMBOLS, SpellingCode, spread

LONGEST_STRING = 64
MOST_STRINGS = 10_000
"""Longer or further strings of white space use the escape, which bounds memory."""

_ESCAPED_CHARACTER = math.log2(len(WHITE_SPACE) + 1)
_ESCAPED_BYTE = math.log2(SYMBOLS)
_GAP = re.compile(f"[{WHITE_SPACE}]+")
_WIDE_GAPS = WHITE_SPACE.replace(" ", "")


def new_word_rate(seen_once: int, unknown: int, tokens: int) -> float:
    """The share of tokens that will be unknown in new text beyond those that were unknown in training.

    seen_once: number n of tokens that occur once in the training text. Their share estimates that of unseen tokens
    (Good, 1953); n / (tokens + n) is less than one for any text (Witten and Bell, 1991).
    unknown: tokens of the training text that the vocabulary leaves out, from which a model learns p(unknown).
    """
    new = max(seen_once, 1) - unknown
    return new / (tokens + new) if new > 0 and tokens else 0.0


class SpaceCode:
    """A distribution over strings of white space: those seen, and an escape to a code character by character.

    The weight of the escape is the number of types seen plus one (Witten and Bell, 1991), plus the strings that
    were not counted. After it each character, and the end, costs log2 6: white space has five characters. With
    any_text, strings may have any characters, and each of their bytes, and the end, costs log2 257.
    """

    def __init__(self, counts: dict[str, int], uncounted: int = 0, *, any_text: bool = False) -> None:
        self.counts = counts
        self.uncounted = uncounted
        self.any_text = any_text
        escape = len(counts) + uncounted + 1
        total = sum(counts.values()) + escape
        self._bits = {string: math.log2(total / count) for string, count in counts.items()}
        self._escape = math.log2(total / escape)

    def bits(self, string: str) -> float:
        """The length of the code of one string of white space."""
        known = self._bits.get(string)
        if known is not None:
            return known
        if self.any_text:
            return self._escape + (len(string.encode()) + 1) * _ESCAPED_BYTE
        return self._escape + (len(string) + 1) * _ESCAPED_CHARACTER

    def to_table(self) -> dict[str, Any]:
        table: dict[str, Any] = {"counts": self.counts, "uncounted": self.uncounted}
        return table | {"any_text": True} if self.any_text else table

    @classmethod
    def from_table(cls, table: Any) -> Self:
        """Restore the result of `to_table`; ValueError if it is invalid."""
        if not isinstance(table, dict) or not isinstance(table.get("counts"), dict):
            raise ValueError("a table of white space has no counts")
        counts, uncounted, any_text = table["counts"], table.get("uncounted"), table.get("any_text", False)
        if type(any_text) is not bool:
            raise ValueError("a table of white space has a bad 'any_text'")
        if type(uncounted) is not int or not 0 <= uncounted < 2**60:
            raise ValueError("a table of white space has a bad 'uncounted'")
        for string, count in counts.items():
            if (
                (string.strip(WHITE_SPACE) and not any_text)
                or type(count) is not int
                or not 0 < count < 2**60
            ):
                raise ValueError(f"the entry {reprlib.repr(string)} of a table of white space is invalid")
        return cls(counts, uncounted, any_text=any_text)


class Gaps(NamedTuple):
    """The white space of a line. `between` counts its strings; a line without words is all `before`."""

    before: str
    between: Mapping[str, int]
    after: str | None


def gaps(line: str) -> Gaps:
    """The white space around the words that `lmkit.corpus.words.WHITE_SPACE` separates."""
    body = line.strip(WHITE_SPACE)
    if not body:
        return Gaps(line, {}, None)
    start = len(line) - len(line.lstrip(WHITE_SPACE))
    # Nearly every line has only single spaces, so there is no need to look at each gap.
    if "  " not in body and not any(c in body for c in _WIDE_GAPS):
        spaces = body.count(" ")
        between: Mapping[str, int] = {" ": spaces} if spaces else {}
    else:
        between = Counter(match.group() for match in _GAP.finditer(body))
    return Gaps(line[:start], between, line[start + len(body) :])


def gaps_around(line: str, spans: np.ndarray) -> Gaps:
    """The strings between tokens with these spans (tokens, 2); none between two that touch."""
    if not len(spans):
        return Gaps(line, {}, None)
    starts, ends = spans[:, 0].tolist(), spans[:, 1].tolist()
    between = Counter(line[end:start] for end, start in zip(ends[:-1], starts[1:], strict=True))
    return Gaps(line[: starts[0]], between, line[ends[-1] :])


class LineCode:
    """The three tables of white space: before the first word, between words, after the last.

    The ids tell a decoder the number of words, and so the number of strings to read and their tables. A line
    without words is one string of the first table.
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

    def block_bits(self, raw: bytes, words: np.ndarray) -> np.ndarray:
        """(lines,) the same for lines joined by line feeds; words: (lines,) how many words each has."""
        data = np.frombuffer(raw + b"\n", np.uint8)
        ends = np.flatnonzero(data == ord("\n"))
        starts = np.append(0, ends[:-1] + 1)
        space = data == ord(" ")
        before = np.array([self.before.bits(""), self.before.bits(" ")])[space[starts].view(np.int8)]
        after = np.array([self.after.bits(""), self.after.bits(" ")])[space[ends - 1].view(np.int8)]
        bits = np.where(words > 0, before + (words - 1) * self.between.bits(" ") + after, before)
        # Few lines have other white space than single spaces.
        odd = space[1:] & space[:-1]
        for gap in _WIDE_GAPS.replace("\n", ""):
            odd |= data[:-1] == ord(gap)
        for i in np.unique(np.searchsorted(ends, np.flatnonzero(odd))).tolist():
            bits[i] = self.bits(gaps(raw[starts[i] : ends[i]].decode()))
        return bits

    def to_table(self) -> dict[str, Any]:
        return {place: getattr(self, place).to_table() for place in self.places}

    @classmethod
    def from_table(cls, table: Any) -> Self:
        """Restore the result of `to_table`; ValueError if it is invalid."""
        if not isinstance(table, dict):
            raise ValueError("the tables of white space are missing")
        return cls(*(SpaceCode.from_table(table.get(place)) for place in cls.places))


class GapCounter:
    """Counts the white space of training lines in bounded memory."""

    def __init__(self, *, any_text: bool = False) -> None:
        self._any_text = any_text
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
        """Count a string that occurred `count` times at one of the places."""
        seen = self._seen[place]
        if string in seen or (len(seen) < MOST_STRINGS and len(string) <= LONGEST_STRING):
            seen[string] += count
        else:
            self._uncounted[place] += count

    def code(self) -> LineCode:
        pairs = zip(self._seen, self._uncounted, strict=True)
        return LineCode(*(SpaceCode(dict(s), u, any_text=self._any_text) for s, u in pairs))


class WordResidual:
    """The code that restores a line from the ids of its words; it is fitted with the tokenizer.

    spelling: the code of unknown words. spaces: the code of the text between tokens, which ids do not contain.
    novelty: see `lmkit.contracts.Tokenizer.novelty`.
    """

    def __init__(self, spelling: SpellingCode, spaces: LineCode, novelty: float | None = 0.0) -> None:
        self.spelling = spelling
        self.spaces = spaces
        self.novelty = novelty

    def bits(self, line: str, spans: np.ndarray, unknown: np.ndarray) -> float:
        """The length of the code of all text that ids drop: between tokens, and the spellings of unknown tokens.

        spans: (tokens, 2) characters [start, end) of each token, in order. unknown: (tokens,) bool. The text of
        every other token must follow from its id.
        """
        return self.spaces.bits(gaps_around(line, spans)) + float(
            self.spelling_bits(line, spans, unknown).sum()
        )

    def spelling_bits(self, line: str, spans: np.ndarray, unknown: np.ndarray) -> np.ndarray:
        """(unknown tokens,) the length of the code of each spelling."""
        return self.spelling.bits([line[start:end].encode() for start, end in spans[unknown].tolist()])

    def to_table(self) -> dict[str, Any]:
        """The argument of `from_table`: lists, dictionaries, strings and numbers, for JSON."""
        return {
            "spaces": self.spaces.to_table(),
            "spelling": self.spelling.to_table(),
            "novelty": self.novelty,
        }

    @classmethod
    def from_table(cls, table: Any) -> Self:
        """Restore the result of `to_table`; ValueError if it is invalid. A missing novelty is 0."""
        if not isinstance(table, dict):
            raise ValueError("it is not a table")
        novelty = table.get("novelty", 0.0)
        if novelty is not None and (type(novelty) not in (int, float) or not 0 <= novelty < 1):
            raise ValueError("its novelty is not a number from 0 to 1")
        return cls(
            SpellingCode.from_table(table.get("spelling")), LineCode.from_table(table.get("spaces")), novelty
        )


class ResidualCounter:
    """Counts the words of training text and the text between them.

    words: the count of each word, so that a tokenizer need not count them too.
    """

    def __init__(self) -> None:
        self.words: Counter[str] = Counter()
        self._spaces = GapCounter(any_text=True)
        self._lines = 0

    def add(self, line: str, spans: np.ndarray) -> None:
        """Count a line; spans: (tokens, 2) characters [start, end) of its tokens, in order."""
        self.words.update(line[start:end] for start, end in spans.tolist())
        self._spaces.add(gaps_around(line, spans))
        self._lines += 1

    def code(self, vocabulary: Collection[str]) -> WordResidual:
        """The code for a tokenizer whose ids spell exactly the words of `vocabulary`."""
        known = set(vocabulary)
        unknown = sum(count for word, count in self.words.items() if word not in known)
        once = sum(count == 1 for count in self.words.values())
        seldom = [word for word, count in self.words.items() if count == 1 or word not in known]
        words = seldom or list(self.words)
        spelling = SpellingCode.fit(words[i].encode() for i in spread(len(words)).tolist())
        tokens = self.words.total() + self._lines
        return WordResidual(spelling, self._spaces.code(), new_word_rate(once, unknown, tokens))
