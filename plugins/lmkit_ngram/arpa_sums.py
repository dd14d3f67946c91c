"""Check whether the n-grams of a file are probabilities, by their sums after some contexts."""

import math
from dataclasses import dataclass

import numpy as np

from lmkit_ngram import queries
from lmkit_ngram.queries import NOTHING, Grams, as_grams
from lmkit_ngram.table import NgramTable

TOLERANCE = 0.01
"""Log-probabilities and backoffs of four digits are wrong by at most a thousandth, so a sum by one per order."""
CONTEXTS = 48
"""Number of contexts to check; each takes a pass over the vocabulary."""
MOSTLY = 0.5
"""From this share of wrong sums on, the scores are not probabilities."""
SAMPLE = 4096
"""Number of n-grams of an order from which contexts are chosen."""


@dataclass(frozen=True)
class Sums:
    """The sums after some contexts: the smallest, the largest, and the words of the one farthest from 1.

    contexts: their number. wrong: the number of sums that are not 1. normalized: whether the model's scores count as
    probabilities: not if the sum of the unigrams or that after `<s>` is wrong, or those after half of the contexts
    of some length. (Files edited by hand may have a few wrong contexts.)
    """

    least: float
    most: float
    worst: tuple[int, ...]
    contexts: int
    wrong: int
    normalized: bool

    @property
    def farthest(self) -> float:
        """The sum farthest from 1."""
        return max(self.least, self.most, key=_distance)


def check_sums(table: NgramTable, eos_id: int, uncounted: np.ndarray) -> Sums:
    """Sum the probabilities after no context, `<s>` and, for each length, contexts with many, few and other followers.

    uncounted: ids with the score of the unknown word because the file lacks them. `<s>` is never scored; a file that
    gives it a probability may include it in the sum or not.
    """
    grams = as_grams(table, eos_id)
    row = np.empty((1, table.vocab_size), np.float32)
    states = _chosen(table, eos_id)
    totals = []
    for state in states:
        queries.fill_distributions(grams, np.array([state]), np.zeros(1), row)
        probs = np.exp(row[0], dtype=np.float64)
        probs[uncounted] = 0
        total = float(probs.sum())
        totals.append(min(total, total + _of_start(grams, table.start, state), key=_distance))
    wrong = np.array([_distance(total) > TOLERANCE for total in totals])
    orders = np.searchsorted(table.offsets, states, "right")  # 0 for no context
    deciding = [wrong[np.array(states) == table.start], *(wrong[orders == k] for k in np.unique(orders))]
    worst = states[max(range(len(states)), key=lambda i: _distance(totals[i]))]
    return Sums(
        min(totals), max(totals), _words(table, worst), len(states), int(wrong.sum()),
        normalized=not any(len(part) and part.mean() >= MOSTLY for part in deciding),
    )  # fmt: skip


def _distance(total: float) -> float:
    return abs(total - 1)


def _chosen(table: NgramTable, eos_id: int) -> list[int]:
    """The ids of contexts, including NOTHING; none ends in `</s>`, after which a new line begins."""
    states = [NOTHING]
    for order in range(1, table.order):
        first, last = map(int, table.offsets[order - 1 : order + 1])
        if first == last:
            continue
        sample = np.unique(np.linspace(first, last - 1, min(last - first, SAMPLE)).astype(np.int64))
        widths = table.children[sample + 1] - table.children[sample]
        # Contexts without followers matter, since their backoff may not be 1.
        ranked = sample[np.argsort(-widths, kind="stable")]
        fertile = ranked[: np.count_nonzero(widths)]
        share = max(CONTEXTS // (table.order - 1) // 4, 1)
        spread = sample[:: max(len(sample) // share, 1)]
        chosen = [*fertile[:share], *fertile[-share:], *fertile[:: max(len(fertile) // share, 1)][:share]]
        states += np.unique([*chosen, *spread[:share]]).tolist()
    if table.order > 1:
        states.append(table.start)
    return [state for state in dict.fromkeys(states) if state == NOTHING or table.words[state] != eos_id]


def _of_start(grams: Grams, start: int, state: int) -> float:
    """The probability of `<s>` after a context in the file; KenLM writes a log-probability of 0 for none."""
    if grams.log_probs[start] >= 0:
        return 0.0
    log_prob = float(grams.log_probs[start])
    while state != NOTHING:
        log_prob += float(grams.backoffs[state])
        state = int(grams.suffixes[state])
    return math.pow(10, min(log_prob, 0))


def _words(table: NgramTable, state: int) -> tuple[int, ...]:
    """The ids of the words of an n-gram."""
    words: list[int] = []
    while state != NOTHING:
        order = int(np.searchsorted(table.offsets, state, "right"))
        words.append(int(table.words[state]))
        if order == 1:
            break
        first, last = map(int, table.offsets[order - 2 : order])
        state = int(np.searchsorted(table.children[first : last + 1], state, "right")) - 1 + first
    return tuple(reversed(words))
