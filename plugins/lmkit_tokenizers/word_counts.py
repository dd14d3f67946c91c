"""Count the words and the white space of training text, with compiled loops for large texts."""

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np

from lmkit.corpus.readers import Line, TextLines
from lmkit.corpus.words import shown
from lmkit.residual import GapCounter, LineCode, WordResidual, gaps, new_word_rate
from lmkit.spelling import SpellingCode, spread
from lmkit_tokenizers.text import word_chunks

LARGE = 4 << 20
"""Bytes of text from which on importing the compiler, which takes half a second, is worthwhile."""
SOON = 1 << 19
"""The same if it has been imported, so that only the table has to be made."""


@dataclass(frozen=True)
class WordCounts:
    """The distinct words of a text.

    counts: (words,) int64. spell: gives the spellings (as in the text) of words by number. spaces: the code of the
    white space. large: whether it was a large text.
    """

    counts: np.ndarray
    spell: Callable[[np.ndarray], list[bytes]]
    spaces: LineCode
    large: bool

    def most_frequent(self, min_count: int, most: int) -> tuple[np.ndarray, list[bytes]]:
        """At most `most` words that occur often enough: by descending count, ties by their bytes.

        Returns their numbers and spellings.
        """
        frequent = np.flatnonzero(self.counts >= min_count)
        if len(frequent) > most:
            # Of the words that do not fit, only those that tie with the last need spellings.
            last = np.partition(self.counts[frequent], -most)[-most]
            frequent = frequent[self.counts[frequent] >= last]
        words = self.spell(frequent)
        by_bytes = np.array(sorted(range(len(words)), key=words.__getitem__), np.int64)
        order = by_bytes[np.argsort(-self.counts[frequent[by_bytes]], kind="stable")][:most]
        return frequent[order], [words[i] for i in order.tolist()]

    def residual(self, kept: np.ndarray) -> WordResidual:
        """The code for everything that ids drop, if only the words with the numbers `kept` have ids."""
        cut = np.ones(len(self.counts), bool)
        cut[kept] = False
        once = self.counts == 1
        seldom = cut | once
        numbers = np.flatnonzero(seldom if seldom.any() else ~seldom)
        spelling = SpellingCode.fit(self.spell(numbers[spread(len(numbers))]))
        before = self.spaces.before
        tokens = int(self.counts.sum()) + sum(before.counts.values()) + before.uncounted
        novelty = new_word_rate(int(once.sum()), int(self.counts[cut].sum()), tokens)
        return WordResidual(spelling, self.spaces, novelty)


def count_words(lines: Iterable[str]) -> WordCounts:
    """The words of lines, in one pass, with the counts of distinct words in memory."""
    if isinstance(lines, TextLines):
        return _count_blocks(
            part.text.encode() if isinstance(part, Line) else part.raw for part in lines.blocks()
        )
    return _count_lines(lines)


def _count_lines(lines: Iterable[str]) -> WordCounts:
    counts: Counter[bytes] = Counter()
    spaces = GapCounter()
    for line in lines:
        for words in word_chunks(line):
            counts.update(words)
        spaces.add(gaps(line))
    found = list(counts)
    numbers = np.fromiter(counts.values(), np.int64, len(counts))
    return WordCounts(numbers, lambda some: [shown(found[i]) for i in some.tolist()], spaces.code(), False)


def is_large(num_bytes: int) -> bool:
    """Whether a table of words pays off for this many bytes of text."""
    return num_bytes > (min(SOON, LARGE) if "numba" in sys.modules else LARGE)


def _count_blocks(blocks: Iterable[bytes]) -> WordCounts:
    """blocks: lines joined by line feeds."""
    waiting: list[bytes] = []
    size = 0
    blocks = iter(blocks)
    for raw in blocks:
        waiting.append(raw)
        size += len(raw)
        if size > LARGE:
            return _count_by_table(waiting, blocks)
    return _count_lines(line for raw in waiting for line in raw.decode().split("\n"))


def _count_by_table(waiting: list[bytes], more: Iterator[bytes]) -> WordCounts:
    from lmkit_tokenizers.word_table import WordTable

    table = WordTable()
    spaces = GapCounter()
    for raw in chain(waiting, more):
        table.count(raw, spaces)
    return WordCounts(table.counts, table.words, spaces.code(), True)
