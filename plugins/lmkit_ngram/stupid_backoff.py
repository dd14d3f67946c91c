"""Stupid backoff (Brants et al. 2007): a factor alpha for every dropped word of the context, seen or not.

    S(w | h) = c(hw) / c(h) if hw was seen, else alpha S(w | h'), with h' one word shorter

A table has only seen contexts, so no backoff weight can charge for an unseen one. Therefore the scores of k words
are stored as alpha ** (order - k) c(hw) / c(h), with backoffs of 1: the score after any context of order - 1 words
is then correct, wherever the walk ends. A context with m words fewer, near the beginning of a line, is charged for
m words too many, which `lift` corrects. A state contains m.
"""

import math

import numpy as np

from lmkit.jit import kernel
from lmkit_ngram.table import NgramTable

TOLERANCE = 1e-4
"""The tolerance between a backoff that was read and the one that export writes, for rounding of digits and float32."""


def missing_at_start(order: int) -> int:
    """The number of words that the context `<s>` lacks from the longest."""
    return max(order - 2, 0)


def scale(table: NgramTable, alpha: float) -> None:
    """Multiply the scores c(hw) / c(h) of a table's n-grams of k words by alpha ** (order - k), in log10, in place."""
    table.log_probs[: table.start] += (table.order - 1) * math.log10(alpha)
    for k in range(2, table.order + 1):
        first, last = table.offsets[k - 1 : k + 1]
        table.log_probs[first:last] += (table.order - k) * math.log10(alpha)


def for_files(table: NgramTable, alpha: float) -> NgramTable:
    """A table for readers of ARPA files, which have only backoff weights: correct wherever these can be.

    Words after a seen beginning of a line have their plain score, and the backoffs there correct the excess of
    shorter n-grams. Only words 2 to order - 2 of a line score too low, if the beginning of the line was never seen,
    since a reader then does not know the distance to it.
    """
    return _moved(table, -math.log10(alpha), table.backoffs + _start_backoffs(table, alpha))


def from_file(table: NgramTable, alpha: float) -> NgramTable | None:
    """Invert `for_files`; None if the backoffs show that the table is not from it."""
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
    """For each order, the ids of the n-grams that begin with `<s>`, which are the last ones: [first, last)."""
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
    """Correct the excess of the log10 scores, and update the number of missing words.

    ids, scores: (batch, time). reset: (batch, time) bool, beginnings of lines besides those after each `</s>`.
    missing: (batch,) int64, the number of words that the context lacks from order - 1; at_start: after `<s>`.
    """
    for row in range(len(ids)):
        left = missing[row]
        for t in range(ids.shape[1]):
            if reset[row, t]:
                left = at_start
            scores[row, t] -= left * log_alpha
            left = at_start if ids[row, t] == eos_id else max(left - 1, 0)
        missing[row] = left
