"""A code for the spellings of unknown words: an n-gram model of bytes within words."""

import reprlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Self

import numpy as np

from lmkit.corpus.words import shown

BOUNDARY = 256
"""The symbol before the first byte of a word and after its last."""
SYMBOLS = 257

ORDER = 5
"""The highest order of the n-grams of bytes; from 4 on, names and other rare words cost least."""
MOST_WORDS = 1 << 17
"""Maximum number of words to fit a code of spellings on, since they are stored."""

MOST_FOUND = 1 << 16
"""Words whose bits are cached, since names occur repeatedly."""


class SpellingCode:
    """An n-gram model of bytes with an end symbol: 257 outcomes after each context within a word.

    Each order is interpolated with the one below it, and the lowest with the uniform distribution (Witten and Bell,
    1991), so every string has a finite code. Without words to fit on, it is uniform.
    """

    def __init__(self, order: int, keys: np.ndarray, counts: np.ndarray, table: Any) -> None:
        """keys: (n,) int64, each `order` symbols as a number of base 257, the first one highest, with its count.

        table: the argument of `from_table`.
        """
        self._table = table
        self._found: dict[bytes, float] = {}
        self._levels = [_Level.of(keys % SYMBOLS ** (k + 1), counts) for k in range(1, order)]
        self._packed = _packed(self._levels)
        singles = np.bincount(keys % SYMBOLS, counts, SYMBOLS)
        kinds = max(int(np.count_nonzero(singles)), 1)
        self._unigram = (singles + kinds / SYMBOLS) / (singles.sum() + kinds)

    @classmethod
    def fit(cls, words: Iterable[bytes], order: int = ORDER) -> Self:
        """Fit on each word once; words are as in the text or in the form of `lmkit.corpus.words.hidden`.

        The words seen once in training, in the vocabulary or not, work best, since new words resemble them.
        """
        listed = [shown(word) for word in words]
        keys, counts = np.unique(_keys(listed, order), return_counts=True)
        return cls(order, keys, counts, {"order": order, "words": [word.decode() for word in listed]})

    def probabilities(self, keys: np.ndarray) -> np.ndarray:
        """(n,) float64: the probability of each last symbol given the others; keys as above, of any order."""
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
        from lmkit.spelling_kernel import spelled  # here, since numba is slow to import

        as_text = [shown(word) for word in words]
        ends = np.cumsum([len(word) for word in as_text], dtype=np.int64)
        raw = np.frombuffer(b"".join(as_text), np.uint8)
        return spelled(raw, ends, self._unigram, *self._packed)

    def to_table(self) -> Any:
        """The argument of `from_table`, for JSON."""
        return self._table

    @classmethod
    def from_table(cls, table: Any) -> Self:
        """Restore the result of `to_table`; ValueError if it is invalid. A list is a bigram of older tokenizers."""
        if isinstance(table, list):
            return cls._from_bigrams(table)
        if not isinstance(table, dict) or not isinstance(words := table.get("words"), list):
            raise ValueError("the table of spelling is not a list of words")
        order = table.get("order")
        if type(order) is not int or not 2 <= order <= ORDER:
            raise ValueError(f"the order of the table of spelling is not from 2 to {ORDER}")
        if len(words) > MOST_WORDS or not all(isinstance(word, str) for word in words):
            raise ValueError("the table of spelling has too many words, or an entry that is not a word")
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
            raise ValueError("an entry of the table of spelling occurs twice")
        return cls(2, np.array(keys, np.int64), np.array(counts, np.int64), table)


class _Level(NamedTuple):
    """The counts of one order: of n-grams, and for each context its count and its number of different followers."""

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
        """(n,) probabilities, from those of the order below, which are kept for unseen contexts."""
        if not len(self.keys):
            return below
        place = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        count = np.where(self.keys[place] == keys, self.counts[place], 0)
        context = np.minimum(np.searchsorted(self.contexts, keys // SYMBOLS), len(self.contexts) - 1)
        total, followers = self.totals[context], self.followers[context]
        found = (count + followers * below) / (total + followers)
        return np.where(self.contexts[context] == keys // SYMBOLS, found, below)


def _packed(levels: Sequence[_Level]) -> tuple[np.ndarray, ...]:
    """The arrays of all levels one after another, and where those of n-grams and of contexts end at each level."""
    joined = (
        np.concatenate([np.zeros(0, kind), *(getattr(level, name) for level in levels)])
        for name, kind in (
            ("keys", np.int64), ("counts", np.float64), ("contexts", np.int64), ("totals", np.float64),
            ("followers", np.int64),
        )
    )  # fmt: skip
    ends = (
        np.cumsum([0, *(len(getattr(level, name)) for level in levels)], dtype=np.int64)
        for name in ("keys", "contexts")
    )
    return (*joined, *ends)


def _keys(words: Sequence[bytes], order: int) -> np.ndarray:
    """The n-grams of the bytes and the end of every word, one word after another, as numbers of base 257.

    A word follows order - 1 symbols BOUNDARY; the first BOUNDARY after it is its end.
    """
    around = b"\n" * (order - 1)
    raw = np.frombuffer(around + b"".join(word + around for word in words), np.uint8)
    sizes = np.array([len(word) for word in words], np.int64)
    ends = np.cumsum(sizes + order - 1) + order - 1  # past each word and the symbols after it
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
    """Indices of at most MOST_WORDS words for a SpellingCode, evenly spaced."""
    return (
        np.arange(number) if number <= MOST_WORDS else np.linspace(0, number - 1, MOST_WORDS).astype(np.int64)
    )
