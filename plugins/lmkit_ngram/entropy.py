"""Relative-entropy pruning (Stolcke 1998): drop n-grams that hardly change the model."""

import logging
import math

import numpy as np

from lmkit.jit import kernel
from lmkit_ngram.compaction import without
from lmkit_ngram.count import in_memory
from lmkit_ngram.smoothing_kernels import unseen_mass
from lmkit_ngram.table import Allocate, NgramTable

log = logging.getLogger(__name__)

UNTOUCHED = -1.0
"""Instead of a mass, for contexts that have lost no n-gram and keep their backoff weight."""


def entropy_prune(
    table: NgramTable, threshold: float, eos_id: int, allocate: Allocate = in_memory
) -> NgramTable:
    """A smaller model, without n-grams whose single removal changes perplexity by less than this share.

    The relative entropy between the model and the one without p(w|h) is

        D = -p(h) (p(w|h) (ln p(w|h') + ln a'(h) - ln p(w|h)) + (1 - sum of p(v|h)) (ln a'(h) - ln a(h)))

    over the v that follow h, with h' one word shorter, a the backoff weight and a' the one without the n-gram;
    perplexity changes by exp(D) - 1 (A. Stolcke, "Entropy-based pruning of backoff language models", 1998).
    p(h) is the product of the model's own probabilities; a line begins as often as it ends, so p(`</s>`) is used
    for p(`<s>`). From the longest n-grams down, all except unigrams are checked; one that is the context or the
    suffix of a kept one also stays. Then contexts that have lost n-grams get new weights.

    table: must be normalised; it is not modified. allocate: creates the new arrays, while the old ones are in use.
    (`prune.check` refuses methods without probabilities.)
    """
    probs, weights = _linear(table.log_probs), _linear(table.backoffs)
    history = np.empty(table.contexts, np.float64)
    _history(table.children, probs, table.vocab_size, eos_id, history)
    needed = np.zeros(table.total, np.bool_)
    needed[: table.offsets[1]] = True
    left = np.empty(table.contexts, np.float64)
    least = math.log1p(threshold)
    for order in range(table.order, 1, -1):
        _choose(
            table.children, table.suffixes, table.words, table.vocab_size, probs, weights, history, least,
            needed, left, int(table.offsets[order - 2]), int(table.offsets[order - 1]),
        )  # fmt: skip
    left = left[needed[: table.contexts]]
    del history, probs, weights
    pruned = without(table, needed, allocate)
    _reweight(
        pruned.children, pruned.suffixes, pruned.words, pruned.vocab_size, _linear(pruned.log_probs),
        _linear(pruned.backoffs), left, pruned.backoffs,
    )  # fmt: skip
    log.info("pruned %d of %d n-grams by relative entropy", table.total - pruned.total, table.total)
    return pruned


def _linear(logarithms: np.ndarray) -> np.ndarray:
    return np.power(np.float32(10), logarithms)


@kernel
def _history(children: np.ndarray, probs: np.ndarray, start: int, eos_id: int, history: np.ndarray) -> None:
    """history[i] = probability of meeting the context i, by the chain rule."""
    for word in range(min(start + 1, len(history))):
        history[word] = probs[eos_id] if word == start else probs[word]
    for context in range(len(history)):
        for child in range(children[context], min(children[context + 1], len(history))):
            history[child] = history[context] * probs[child]


@kernel
def _choose(
    children: np.ndarray,
    suffixes: np.ndarray,
    words: np.ndarray,
    vocab_size: int,
    probs: np.ndarray,
    weights: np.ndarray,
    history: np.ndarray,
    least: float,
    needed: np.ndarray,
    left: np.ndarray,
    first: int,
    last: int,
) -> None:
    """Mark the kept n-grams after the contexts first .. last - 1, given the kept longer n-grams.

    left[context] becomes the mass that kept followers do not use.
    """
    for context in range(first, last):
        begin = children[context]
        end = children[context + 1]
        left[context] = UNTOUCHED
        if begin == end:
            continue
        shorter = unseen_mass(children, suffixes, words, vocab_size, probs, weights, context)
        weight = np.float64(weights[context])
        own = weight * shorter  # the context's mass for words that do not follow it
        lost = 0.0
        dropped = False
        for child in range(begin, end):
            p = np.float64(probs[child])
            if not needed[child]:
                lower = np.float64(probs[suffixes[child]])
                new_weight = (own + p) / (shorter + lower)
                divergence = p * math.log(p / (lower * new_weight)) if p > 0 else 0.0
                if own > 0:
                    divergence -= own * math.log(new_weight / weight)
                if history[context] * divergence < least:
                    lost += p
                    dropped = True
                    continue
                needed[child] = True
            needed[suffixes[child]] = True
            needed[context] = True
        if dropped:
            left[context] = own + lost


@kernel
def _reweight(
    children: np.ndarray,
    suffixes: np.ndarray,
    words: np.ndarray,
    vocab_size: int,
    probs: np.ndarray,
    weights: np.ndarray,
    left: np.ndarray,
    log_weights: np.ndarray,
) -> None:
    """New weights for contexts that have lost n-grams, the shortest first, so that each sums to one."""
    for context in range(len(left)):
        if left[context] == UNTOUCHED:
            continue
        weight = 1.0
        if children[context] < children[context + 1]:
            weight = left[context] / unseen_mass(
                children, suffixes, words, vocab_size, probs, weights, context
            )
        weights[context] = weight
        log_weights[context] = np.log10(weight)
