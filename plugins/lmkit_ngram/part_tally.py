"""What the discounts and the unigrams need from every part: counts of counts, and distinct words before each word."""

from dataclasses import dataclass

import numpy as np

from lmkit_ngram import smoothing_kernels as discounting
from lmkit_ngram.options import NgramOptions
from lmkit_ngram.part_count import Nodes, Rows
from lmkit_ngram.prune import thresholds
from lmkit_ngram.smoothing import counts_needed


@dataclass
class Tally:
    """Sums over n-grams of two and more words.

    seen: (order, 4) int64, the numbers of n-grams with counts of one to four. sizes: (order,) int64, the numbers of
    all. before: (words,) int64, the number of distinct words before each word.
    """

    seen: np.ndarray
    sizes: np.ndarray
    before: np.ndarray

    @classmethod
    def empty(cls, order: int, vocab_size: int) -> "Tally":
        return cls(np.zeros((order, 4), np.int64), np.zeros(order, np.int64), np.zeros(vocab_size, np.int64))

    def add(self, nodes: Nodes, least: int) -> None:
        """Add the n-grams of at least this many words."""
        for length in range(least, len(self.sizes) + 1):
            first, last = map(int, nodes.firsts[length : length + 2])
            self.seen[length - 1] += discounting.counts_of_counts(nodes.counts, first, last)
            self.sizes[length - 1] += last - first
        if least == 2:
            words = nodes.words[: nodes.firsts[3]]
            self.before += np.bincount(words, minlength=len(self.before))


def nodes_of(rows: Rows, options: NgramOptions) -> Nodes:
    """The n-grams of a part with the counts that the smoothing needs."""
    adjusted = counts_needed(options.smoothing)
    nodes = rows.nodes(with_raw=not adjusted or any(thresholds(options)))
    if not adjusted:
        nodes.counts = nodes.raw
    return nodes
