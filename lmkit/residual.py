"""Residual codes: what the white space and the unknown words that ids drop cost in bits (docs/scores.md).

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
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np

from lmkit.corpus.words import WHITE_SPACE, shown

BOUNDARY = 256
"""The symbol before the first byte of a word and after its last."""
SYMBOLS = 257

ORDER = 5
"""Of the n-grams of bytes, the highest one: from 4 on names and other rare words cost least."""
MOST_WORDS = 1 << 17
"""Words on which a code of spellings is fitted at most: they are stored."""

MOST_FOUND = 1 << 16
"""Words whose bits are kept, since names come again and again."""

LONGEST_STRING = 64
MOST_STRINGS = 10_000
"""Longer or further strings of white space are left to the escape, which bounds memory."""

_ESCAPED_CHARACTER = math.log2(len(WHITE_SPACE) + 1)
_ESCAPED_BYTE = math.log2(SYMBOLS)
_GAP = re.compile(f"[{WHITE_SPACE}]+")
_WIDE_GAPS = WHITE_SPACE.replace(" ", "")


def new_word_rate(seen_once: int, unknown: int, tokens: int) -> float:
    """The share of tokens that will be unknown in new text beyond those that were unknown in training.

    seen_once: tokens of the training text that occur once in it, whose share is that of tokens not seen at all
    (Good, 1953); it is estimated as n / (tokens + n), which is less than one in any text (Witten and Bell, 1991).
    unknown: tokens of the training text that the vocabulary leaves out, from which a model learns p(unknown).
    """
    new = max(seen_once, 1) - unknown
    return new / (tokens + new) if new > 0 and tokens else 0.0


class SpellingCode:
    """An n-gram model of bytes with an end symbol: 257 outcomes after each context within a word.

    Each order is interpolated with the one below it, and the lowest with the uniform distribution (Witten and Bell,
    1991), so that every string has a finite code; fitted on nothing it is uniform.
    """

    def __init__(self, order: int, keys: np.ndarray, counts: np.ndarray, table: Any) -> None:
        """keys: (n,) int64, each `order` symbols as a number of base 257, the first one highest, with its count.

        table: what `from_table` takes.
        """
        self._table = table
        self._found: dict[bytes, float] = {}
        self._levels = [_Level.of(keys % SYMBOLS ** (k + 1), counts) for k in range(1, order)]
        singles = np.bincount(keys % SYMBOLS, counts, SYMBOLS)
        kinds = max(int(np.count_nonzero(singles)), 1)
        self._unigram = (singles + kinds / SYMBOLS) / (singles.sum() + kinds)

    @classmethod
    def fit(cls, words: Iterable[bytes], order: int = ORDER) -> Self:
        """From each word once; words are as in the text or in the form of `lmkit.corpus.words.hidden`.

        Best are the words seen once in training, whether a vocabulary has them or not: new words are like them.
        """
        listed = [shown(word) for word in words]
        keys, counts = np.unique(_keys(listed, order), return_counts=True)
        return cls(order, keys, counts, {"order": order, "words": [word.decode() for word in listed]})

    def probabilities(self, keys: np.ndarray) -> np.ndarray:
        """(n,) float64: the probability of each last symbol after the others; keys as above, of any order."""
        found = self._unigram[keys % SYMBOLS]
        for k, level in enumerate(self._levels, 1):
            found = level.interpolated(keys % SYMBOLS ** (k + 1), found)
        return found

    def bits(self, words: Sequence[bytes]) -> np.ndarray:
        """(words,) float64: the length of each word's code."""
        new = [word for word in dict.fromkeys(words) if word not in self._found]
        if new:
            if len(self._found) + len(new) > MOST_FOUND:
                self._found, new = {}, list(dict.fromkeys(words))
            self._found.update(zip(new, self._spelled(new).tolist(), strict=True))
        return np.array([self._found[word] for word in words], np.float64)

    def _spelled(self, words: Sequence[bytes]) -> np.ndarray:
        sizes = np.array([len(word) + 1 for word in words])
        bits = -np.log2(self.probabilities(_keys([shown(word) for word in words], len(self._levels) + 1)))
        return np.add.reduceat(bits, np.cumsum(sizes) - sizes)

    def to_table(self) -> Any:
        """What `from_table` takes, for JSON."""
        return self._table

    @classmethod
    def from_table(cls, table: Any) -> Self:
        """What `to_table` gave; ValueError if it is something else. A list is a bigram of older tokenizers."""
        if isinstance(table, list):
            return cls._from_bigrams(table)
        if not isinstance(table, dict) or not isinstance(words := table.get("words"), list):
            raise ValueError("the table of spelling is no list of words")
        order = table.get("order")
        if type(order) is not int or not 2 <= order <= ORDER:
            raise ValueError(f"the order of the table of spelling is none from 2 to {ORDER}")
        if len(words) > MOST_WORDS or not all(isinstance(word, str) for word in words):
            raise ValueError("the table of spelling has too many words, or something that is no word")
        return cls.fit([word.encode() for word in words], order)

    @classmethod
    def _from_bigrams(cls, table: list[Any]) -> Self:
        if len(table) > SYMBOLS * SYMBOLS:
            raise ValueError("the table of spelling has too many entries")
        keys, counts = [], []
        for entry in table:
            if not (isinstance(entry, list) and len(entry) == 3 and all(type(n) is int for n in entry)):
                raise ValueError("an entry of the table of spelling is not three integers")
            first, second, count = entry
            if not (0 <= first < SYMBOLS and 0 <= second < SYMBOLS and 0 < count < 2**40):
                raise ValueError(f"the entry {reprlib.repr(entry)} of the table of spelling is out of range")
            keys.append(first * SYMBOLS + second)
            counts.append(count)
        if len(set(keys)) < len(keys):
            raise ValueError("an entry of the table of spelling stands in it twice")
        return cls(2, np.array(keys, np.int64), np.array(counts, np.int64), table)


class _Level(NamedTuple):
    """The counts of one order: of n-grams, and of their contexts how often and with how many followers."""

    keys: np.ndarray
    counts: np.ndarray
    contexts: np.ndarray
    totals: np.ndarray
    followers: np.ndarray

    @classmethod
    def of(cls, keys: np.ndarray, counts: np.ndarray) -> "_Level":
        """keys may be repeated."""
        keys, places = np.unique(keys, return_inverse=True)
        counts = np.bincount(places, counts, len(keys))
        contexts, places, followers = np.unique(keys // SYMBOLS, return_inverse=True, return_counts=True)
        return cls(keys, counts, contexts, np.bincount(places, counts, len(contexts)), followers)

    def interpolated(self, keys: np.ndarray, below: np.ndarray) -> np.ndarray:
        """(n,) probabilities, from those of the order below; these stay where the context was never seen."""
        if not len(self.keys):
            return below
        place = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        count = np.where(self.keys[place] == keys, self.counts[place], 0)
        context = np.minimum(np.searchsorted(self.contexts, keys // SYMBOLS), len(self.contexts) - 1)
        total, followers = self.totals[context], self.followers[context]
        found = (count + followers * below) / (total + followers)
        return np.where(self.contexts[context] == keys // SYMBOLS, found, below)


class SpaceCode:
    """A distribution over strings of white space: those seen, and an escape to one symbol a character.

    The escape has the weight of the types seen plus one (Witten and Bell, 1991), and of what was not counted.
    After it each character, and the end, costs log2 6: white space has five characters. With any_text, strings
    are of any characters, and each of their bytes, and the end, costs log2 257.
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
        """What `to_table` gave; ValueError if it is something else."""
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
                raise ValueError(f"the entry {reprlib.repr(string)} of a table of white space is wrong")
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
    # Nearly every line has single spaces only, which need no look at each gap.
    if "  " not in body and not any(c in body for c in _WIDE_GAPS):
        spaces = body.count(" ")
        between: Mapping[str, int] = {" ": spaces} if spaces else {}
    else:
        between = Counter(match.group() for match in _GAP.finditer(body))
    return Gaps(line[:start], between, line[start + len(body) :])


def gaps_around(line: str, spans: np.ndarray) -> Gaps:
    """What is between the tokens of given spans (tokens, 2); nothing between two that touch."""
    if not len(spans):
        return Gaps(line, {}, None)
    starts, ends = spans[:, 0].tolist(), spans[:, 1].tolist()
    between = Counter(line[end:start] for end, start in zip(ends[:-1], starts[1:], strict=True))
    return Gaps(line[: starts[0]], between, line[ends[-1] :])


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
        """Count a string that stood `count` times at one of the places."""
        seen = self._seen[place]
        if string in seen or (len(seen) < MOST_STRINGS and len(string) <= LONGEST_STRING):
            seen[string] += count
        else:
            self._uncounted[place] += count

    def code(self) -> LineCode:
        pairs = zip(self._seen, self._uncounted, strict=True)
        return LineCode(*(SpaceCode(dict(s), u, any_text=self._any_text) for s, u in pairs))


class WordResidual:
    """What restores a line from the ids of its words, frozen when a tokenizer was fitted.

    spelling: the code of unknown words. spaces: of what is between tokens, in place of which ids have nothing.
    novelty: see `lmkit.contracts.Tokenizer.novelty`.
    """

    def __init__(self, spelling: SpellingCode, spaces: LineCode, novelty: float = 0.0) -> None:
        self.spelling = spelling
        self.spaces = spaces
        self.novelty = novelty

    def bits(self, line: str, spans: np.ndarray, unknown: np.ndarray) -> float:
        """The length of the code of what ids drop: all that is between tokens, and the unknown ones' spellings.

        spans: (tokens, 2) characters [start, end) of each token, in order. unknown: (tokens,) bool. The text of
        every other token must follow from its id.
        """
        return self.spaces.bits(gaps_around(line, spans)) + float(
            self.spelling_bits(line, spans, unknown).sum()
        )

    def spelling_bits(self, line: str, spans: np.ndarray, unknown: np.ndarray) -> np.ndarray:
        """(unknown tokens,) the length of the code of each one's spelling."""
        return self.spelling.bits([line[start:end].encode() for start, end in spans[unknown].tolist()])

    def to_table(self) -> dict[str, Any]:
        """What `from_table` takes: lists, dictionaries, strings and numbers, for JSON."""
        return {
            "spaces": self.spaces.to_table(),
            "spelling": self.spelling.to_table(),
            "novelty": self.novelty,
        }

    @classmethod
    def from_table(cls, table: Any) -> Self:
        """What `to_table` gave; ValueError if it is something else. Without a novelty it is 0."""
        if not isinstance(table, dict):
            raise ValueError("it is no table")
        novelty = table.get("novelty", 0.0)
        if type(novelty) not in (int, float) or not 0 <= novelty < 1:
            raise ValueError("its novelty is no number from 0 to 1")
        return cls(
            SpellingCode.from_table(table.get("spelling")), LineCode.from_table(table.get("spaces")), novelty
        )


class ResidualCounter:
    """Counts the words of training text and what is between them.

    words: how often each was seen, so that a tokenizer need not count them too.
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
        """The code for a tokenizer whose ids spell the words of `vocabulary`, and no others."""
        known = set(vocabulary)
        unknown = sum(count for word, count in self.words.items() if word not in known)
        once = sum(count == 1 for count in self.words.values())
        seldom = [word for word, count in self.words.items() if count == 1 or word not in known]
        words = seldom or list(self.words)
        spelling = SpellingCode.fit(words[i].encode() for i in spread(len(words)).tolist())
        tokens = self.words.total() + self._lines
        return WordResidual(spelling, self._spaces.code(), new_word_rate(once, unknown, tokens))


def _keys(words: Sequence[bytes], order: int) -> np.ndarray:
    """The n-grams of the bytes and the end of every word, one word after another, as numbers of base 257.

    Before a word stand order - 1 symbols BOUNDARY; the first one after it is its end.
    """
    around = b"\n" * (order - 1)
    raw = np.frombuffer(around + b"".join(word + around for word in words), np.uint8)
    sizes = np.array([len(word) for word in words], np.int64)
    ends = np.cumsum(sizes + order - 1) + order - 1  # past each word and what is after it
    firsts = ends - sizes - (order - 1)
    before = np.cumsum(sizes + 1) - sizes - 1
    places = np.repeat(firsts - before, sizes + 1) + np.arange(int(sizes.sum()) + len(words))
    symbols = raw.astype(np.int64)
    bounds = np.ones(len(raw), bool)
    bounds[places] = False
    bounds[firsts + sizes] = True
    symbols[bounds] = BOUNDARY
    keys = np.zeros(len(places), np.int64)
    for back in range(order - 1, -1, -1):
        keys = keys * SYMBOLS + symbols[places - back]
    return keys


def spread(number: int) -> np.ndarray:
    """Of so many words, at most MOST_WORDS for a SpellingCode: which, evenly over all."""
    return (
        np.arange(number) if number <= MOST_WORDS else np.linspace(0, number - 1, MOST_WORDS).astype(np.int64)
    )
