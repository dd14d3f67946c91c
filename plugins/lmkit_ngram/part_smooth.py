"""Compute the probabilities and backoffs of the n-grams of one part."""

from dataclasses import dataclass

import numpy as np

from lmkit_ngram import part_kernels
from lmkit_ngram import smoothing_kernels as discounting
from lmkit_ngram.logarithm import to_log10
from lmkit_ngram.part_count import Nodes
from lmkit_ngram.sorting import radix_sort


@dataclass(frozen=True)
class Settings:
    """What all parts share.

    unigrams: (words + 1,) float32 probabilities. discounts: (order, 4) float32. follower_weight: of Witten and Bell.
    limits: for each order, the raw count up to which n-grams are dropped.
    """

    order: int
    unigrams: np.ndarray
    discounts: np.ndarray
    follower_weight: np.float32
    limits: tuple[int, ...]


@dataclass(frozen=True)
class Level:
    """The n-grams of one order in a part, by context, and these contexts, both in lexicographic order.

    first_words: (contexts,) int32, the contexts' first words.
    sizes: (contexts,) int32, the number of n-grams of each. backoffs: (contexts,) float32, log10.
    words: int32, last words. suffixes: int32, the place of the n-gram without its first word among those of one
    order below; of bigrams, the word. probs: float32. log_probs: float32, log10.
    """

    first_words: np.ndarray
    sizes: np.ndarray
    backoffs: np.ndarray
    words: np.ndarray
    suffixes: np.ndarray
    probs: np.ndarray
    log_probs: np.ndarray


def smooth(nodes: Nodes, settings: Settings, bigrams: Level | None = None) -> list[Level]:
    """The n-grams of each order, from bigrams on. bigrams: those of a slice's word, which replace its own."""
    words = len(settings.unigrams)
    total = words + len(nodes.words) + (0 if bigrams is None else len(bigrams.words))
    work = _Work(
        nodes,
        settings,
        words=np.empty(total, np.int32),
        suffixes=np.empty(total, np.int32),
        counts=np.empty(total, np.int32),
        probs=np.empty(total, np.float32),
        ranks=np.empty(len(nodes.words), np.int32),
        places=np.empty(len(nodes.words), np.int32),
    )
    work.probs[:words] = settings.unigrams
    levels = []
    below, at, num_contexts = 0, words, 1
    for order in range(2, settings.order + 1):
        if order == 2 and bigrams is not None:
            level = work.borrow(bigrams, at)
        else:
            level, num_contexts = work.level(order, at, below, num_contexts)
        levels.append(level)
        below, at = at, at + len(level.words)
    return levels


@dataclass
class _Work:
    """Arrays of a part while its orders are computed, from the shortest on.

    words, suffixes, counts, probs: the n-grams that are kept, after the unigrams. ranks: by node, its context among
    those of its order. places: by node, its place in these arrays, or -1.
    """

    nodes: Nodes
    settings: Settings
    words: np.ndarray
    suffixes: np.ndarray
    counts: np.ndarray
    probs: np.ndarray
    ranks: np.ndarray
    places: np.ndarray

    def borrow(self, bigrams: Level, at: int) -> Level:
        """Use bigrams that were computed for another part, from place `at` on."""
        last = int(self.nodes.firsts[3])
        own = self.nodes.words[:last]
        found = np.searchsorted(bigrams.words, own)
        found[found == len(bigrams.words)] = 0
        exists = bigrams.words[found] == own if len(bigrams.words) else np.zeros(last, np.bool_)
        self.places[:last] = np.where(exists, at + found, -1)
        self.ranks[:last] = 0
        self.probs[at : at + len(bigrams.words)] = bigrams.probs
        return bigrams

    def level(self, order: int, at: int, below: int, num_contexts: int) -> tuple[Level, int]:
        """The n-grams of an order, placed from `at` on, and the number of their contexts, dropped ones included.

        below: the first place of the order below. num_contexts: of that order.
        """
        nodes, settings = self.nodes, self.settings
        first, last = map(int, nodes.firsts[order : order + 2])
        keys, which = self._sorted(order, first, last, num_contexts)
        children, lost = np.empty(len(which) + 1, np.int32), np.empty(len(which), np.int32)
        number, kept, found = part_kernels.arrange(
            keys, which, nodes.words, nodes.counts, nodes.raw, nodes.parents, settings.limits[order - 1],
            settings.limits[order - 2], at, self.ranks, self.places, order == 2, self.words, self.suffixes,
            self.counts, children, lost,
        )  # fmt: skip
        children, backoffs = children[: kept + 1], np.empty(kept, np.float32)
        discounting.interpolate(
            children, self.suffixes, self.counts, lost[:kept] if any(settings.limits) else lost[:0],
            settings.discounts[order - 1], settings.follower_weight, self.probs, backoffs, 0, kept,
        )  # fmt: skip
        here = slice(at, at + number)
        probs = self.probs[here].copy()
        log_probs = probs.copy()
        to_log10(log_probs)
        to_log10(backoffs)
        first_words = nodes.lefts[:0]
        if order == 2:
            first_words = nodes.lefts[which[np.flatnonzero(np.diff(keys, prepend=~keys[:1]))]]
        return (
            Level(
                first_words,
                np.diff(children),
                backoffs,
                self.words[here].copy(),
                self.suffixes[here] - np.int32(below),
                probs,
                log_probs,
            ),
            found,
        )

    def _sorted(self, order: int, first: int, last: int, num_contexts: int) -> tuple[np.ndarray, np.ndarray]:
        """Keys of the contexts of the n-grams of an order, sorted, and the n-gram of each."""
        nodes = self.nodes
        which = np.arange(first, last, dtype=np.int32)
        if order == 2:
            return nodes.lefts[first:last].astype(np.uint64), which  # sorted by the first word already
        keys = np.empty(last - first, np.uint64)
        bits = num_contexts.bit_length()
        part_kernels.context_keys(nodes.lefts, nodes.parents, self.ranks, first, last, bits, keys)
        # Stable, so the n-grams of a context stay sorted by their last words.
        radix_sort(
            keys, which, len(keys), bits + len(self.settings.unigrams).bit_length(), np.empty_like(keys),
            np.empty_like(which),
        )  # fmt: skip
        return keys, which
