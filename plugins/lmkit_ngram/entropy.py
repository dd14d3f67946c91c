"""Relative-entropy pruning (Stolcke 1998): drop n-grams that hardly change the model."""

import logging
import math

import numpy as np

from lmkit.jit import kernel
from lmkit.mapped import let_go
from lmkit_ngram.compaction import without
from lmkit_ngram.count import in_memory
from lmkit_ngram.smoothing_kernels import unseen_mass
from lmkit_ngram.table import Allocate, NgramTable
from lmkit_ngram.threads import pieces

log = logging.getLogger(__name__)

SEGMENT = 1 << 20
"""Contexts, or n-grams, to process before the memory of mapped arrays is released."""
UNTOUCHED = -1.0
"""Instead of a mass, for contexts that have lost no n-gram and keep their backoff weight."""


def entropy_prune(
    table: NgramTable,
    threshold: float,
    eos_id: int,
    allocate: Allocate = in_memory,
    scratch: Allocate = in_memory,
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
    scratch: creates the others. With both in files, memory holds a segment at a time, and pages of files.
    (`prune.check` refuses methods without probabilities.)
    """
    probs, weights = _linear("probs", table.log_probs, scratch), _linear("weights", table.backoffs, scratch)
    history = scratch("history", table.contexts, np.float64)
    for first, last in pieces(0, table.contexts, SEGMENT):
        _history(table.children, probs, table.vocab_size, eos_id, history, first, last)
        let_go(table.children, probs, history)
    needed, left = _chosen(table, math.log1p(threshold), probs, weights, history, scratch)
    del probs, weights, history
    pruned = without(table, needed, allocate, scratch)
    let_go(needed)
    probs, weights = _linear("probs", pruned.log_probs, scratch), _linear("weights", pruned.backoffs, scratch)
    kept = 0
    for first, last in pieces(0, table.contexts, SEGMENT):
        masses = left[first:last][needed[first:last]]
        _reweight(
            pruned.children, pruned.suffixes, pruned.words, pruned.vocab_size, probs, weights, masses,
            pruned.backoffs, kept,
        )  # fmt: skip
        kept += len(masses)
        let_go(pruned.children, pruned.suffixes, pruned.words, pruned.backoffs, probs, weights, left, needed)
    log.info("pruned %d of %d n-grams by relative entropy", table.total - pruned.total, table.total)
    return pruned


def _linear(name: str, logarithms: np.ndarray, scratch: Allocate) -> np.ndarray:
    values = scratch(name, len(logarithms), np.float32)
    for first, last in pieces(0, len(values), SEGMENT):
        np.power(np.float32(10), logarithms[first:last], out=values[first:last])
        let_go(values, logarithms)
    return values


def _chosen(
    table: NgramTable,
    least: float,
    probs: np.ndarray,
    weights: np.ndarray,
    history: np.ndarray,
    scratch: Allocate,
) -> tuple[np.ndarray, np.ndarray]:
    """(total,) bool, whether each n-gram is kept, and (contexts,) float64, the masses of `_choose`."""
    needed = scratch("needed", table.total, np.bool_)
    needed[: table.offsets[1]] = True
    for first, last in pieces(int(table.offsets[1]), table.total, SEGMENT):
        needed[first:last] = False
        let_go(needed)
    left = scratch("left", table.contexts, np.float64)
    for order in range(table.order, 1, -1):
        for first, last in pieces(int(table.offsets[order - 2]), int(table.offsets[order - 1]), SEGMENT):
            _choose(
                table.children, table.suffixes, table.words, table.vocab_size, probs, weights, history, least,
                needed, left, first, last,
            )  # fmt: skip
            let_go(table.children, table.suffixes, table.words, probs, weights, history, needed, left)
    return needed, left


@kernel
def _history(
    children: np.ndarray,
    probs: np.ndarray,
    start: int,
    eos_id: int,
    history: np.ndarray,
    first: int,
    last: int,
) -> None:
    """history[i] = probability of meeting the context i, by the chain rule; for the children of first .. last - 1."""
    for word in range(first, min(start + 1, last)):
        history[word] = probs[eos_id] if word == start else probs[word]
    for context in range(first, last):
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
    first: int,
) -> None:
    """New weights for contexts from `first` on that have lost n-grams, the shortest first, so that each sums to one."""
    for i in range(len(left)):
        if left[i] == UNTOUCHED:
            continue
        context = first + i
        weight = 1.0
        if children[context] < children[context + 1]:
            weight = left[i] / unseen_mass(children, suffixes, words, vocab_size, probs, weights, context)
        weights[context] = weight
        log_weights[context] = np.log10(weight)
