"""Stupid backoff (Brants et al. 2007): a factor alpha for every word of the context that is left out, seen or not.

    S(w | h) = c(hw) / c(h) if hw was seen, else alpha S(w | h'), with h' one word shorter

A table knows only contexts that were seen, so no backoff weight can charge for one that never was. Therefore the
scores of k words are kept as alpha ** (order - k) c(hw) / c(h), with backoffs of 1: the score after any context of
order - 1 words is then right, wherever the walk ends. A context that has m words fewer, near the beginning of a
line, is charged for m words too many, which `lift` takes off. A state says how many these are.
"""

import math

import numpy as np

from lmkit.jit import kernel
from lmkit_ngram.table import NgramTable

TOLERANCE = 1e-4
"""How far a backoff that was read may lie from the one that export writes: its digits and float32 are no reason."""


def missing_at_start(order: int) -> int:
    """How many words the context `<s>` has fewer than the longest."""
    return max(order - 2, 0)


def scale(table: NgramTable, alpha: float) -> None:
    """Put alpha ** (order - k) on the log10 scores c(hw) / c(h) of a table's n-grams of k words, in place."""
    table.log_probs[: table.start] += (table.order - 1) * math.log10(alpha)
    for k in range(2, table.order + 1):
        first, last = table.offsets[k - 1 : k + 1]
        table.log_probs[first:last] += (table.order - k) * math.log10(alpha)


def for_files(table: NgramTable, alpha: float) -> NgramTable:
    """A table for readers of ARPA files, which know backoff weights only: right wherever those can be.

    What follows a line's beginning that was seen has its plain score, and the backoffs there take off what
    shorter n-grams charge too much. Only words 2 to order - 2 of a line are scored too low, where what comes before
    them was never seen and a reader no longer knows how near the line's beginning is.
    """
    return _moved(table, -math.log10(alpha), table.backoffs + _start_backoffs(table, alpha))


def from_file(table: NgramTable, alpha: float) -> NgramTable | None:
    """The table whose `for_files` was read; None if its backoffs say that it was not made so."""
    start = _start_backoffs(table, alpha)
    if not np.allclose(table.backoffs, start, rtol=0, atol=TOLERANCE):
        return None
    return _moved(table, math.log10(alpha), np.zeros_like(table.backoffs))


def _moved(table: NgramTable, step: float, backoffs: np.ndarray) -> NgramTable:
    """The table with the backoffs, and the scores after `<s>` and more words moved by `step` for each missing word."""
    log_probs = table.log_probs.copy()
    for k, (first, last) in enumerate(_start_ngrams(table), 1):
        if k > 1:
            log_probs[first:last] += (table.order - k) * step
    return NgramTable(
        table.order, table.vocab_size, table.offsets, table.words, table.suffixes, table.children,
        np.minimum(log_probs, 0), backoffs.astype(np.float32),
    )  # fmt: skip


def _start_backoffs(table: NgramTable, alpha: float) -> np.ndarray:
    """(contexts,) float32: log10 of alpha ** -(order - 1 - k) for `<s>` and k - 1 words, 0 for others."""
    backoffs = np.zeros(table.contexts, np.float32)
    for k, (first, last) in enumerate(_start_ngrams(table)[:-1], 1):
        backoffs[first:last] = -(table.order - 1 - k) * math.log10(alpha)
    return backoffs


def _start_ngrams(table: NgramTable) -> list[tuple[int, int]]:
    """Of each order, the ids of the n-grams that begin with `<s>`, which are the last ones: [first, last)."""
    found = [(table.start, table.start + 1)]
    for k in range(1, table.order):
        found.append((int(table.children[found[-1][0]]), int(table.offsets[k + 1])))
    return found


@kernel
def lift(
    ids: np.ndarray,
    reset: np.ndarray,
    missing: np.ndarray,
    eos_id: int,
    at_start: int,
    log_alpha: float,
    scores: np.ndarray,
) -> None:
    """Take off the log10 scores what they are charged too much, and count the missing words on.

    ids, scores: (batch, time). reset: (batch, time) bool, where a line begins besides after each `</s>`.
    missing: (batch,) int64, how many words the context has fewer than order - 1; at_start: after `<s>`.
    """
    for row in range(len(ids)):
        left = missing[row]
        for t in range(ids.shape[1]):
            if reset[row, t]:
                left = at_start
            scores[row, t] -= left * log_alpha
            left = at_start if ids[row, t] == eos_id else max(left - 1, 0)
        missing[row] = left
