"""Leaving out n-grams that were counted seldom: which, and what they leave to their contexts."""

import logging

import numpy as np

from lmkit.errors import UsageError
from lmkit.jit import kernel
from lmkit.specs import MOST_IDS
from lmkit_ngram.compaction import without
from lmkit_ngram.count import Allocate, Counted
from lmkit_ngram.options import NgramOptions

log = logging.getLogger(__name__)

"""No count is larger."""


def thresholds(options: NgramOptions) -> tuple[int, ...]:
    """For each order the raw count up to which its n-grams are left out, as `--prune` has it.

    Counting must give raw counts too when any of them is not 0. Raises UsageError for a value that is no list of
    whole numbers, begins with another number than 0, falls, or is longer than the order.
    """
    given = f"--prune '{options.prune}'"
    try:
        values = [int(value) for value in options.prune.replace(",", " ").split()]
    except ValueError:
        raise UsageError(f"{given}: wanted whole numbers, one an order, such as '0 0 1'") from None
    if not values or min(values) < 0:
        raise UsageError(f"{given}: wanted one or more numbers from 0 on, one an order, such as '0 0 1'")
    if values[0] != 0:
        raise UsageError(
            f"{given}: the first must be 0, as single words are never left out: use '0 {values[0]}'"
        )
    if values != sorted(values):
        raise UsageError(f"{given}: no order may have a smaller number than the one before, as in '0 0 1 1'")
    if len(values) > options.order:
        raise UsageError(
            f"{given}: {len(values)} numbers for --order {options.order}: give one an order at most"
        )
    values += values[-1:] * (options.order - len(values))
    return tuple(min(value, MOST_IDS) for value in values)


def check(options: NgramOptions) -> None:
    """UsageError for a bad `--prune`, or for `--entropy-prune` with scores that are no probabilities."""
    thresholds(options)
    if options.entropy_prune and options.smoothing == "stupid-backoff":
        raise UsageError(
            "--entropy-prune needs probabilities, which --smoothing stupid-backoff does not give: use --prune"
        )


def drop_rare(counted: Counted, limits: tuple[int, ...], allocate: Allocate) -> np.ndarray:
    """Leave out of `counted` the n-grams with raw counts of at most limits[order - 1].

    Its table and counts are replaced, its raw counts let go. Returns (contexts,) int32, what the n-grams that
    are gone had been counted after each context that stays. Unigrams all stay.
    """
    table = counted.table
    assert counted.raw is not None, "pruning needs raw counts"
    keep = np.ones(table.total, np.bool_)
    for order in range(2, table.order + 1):
        ids = slice(int(table.offsets[order - 1]), int(table.offsets[order]))
        np.greater(counted.raw[ids], limits[order - 1], out=keep[ids])
    lost = np.empty(table.contexts, np.int32)
    _lost(table.children, counted.counts, keep, lost)
    lost = lost[keep[: table.contexts]]
    counted.table = without(table, keep, allocate)
    counted.counts = counted.table.log_probs.view(np.int32)
    counted.raw = None
    log.info("pruned %d of %d n-grams by their counts", table.total - counted.table.total, table.total)
    return lost


@kernel
def _lost(children: np.ndarray, counts: np.ndarray, keep: np.ndarray, lost: np.ndarray) -> None:
    """lost[i] = sum of the counts of those children of n-gram i that are not kept."""
    for context in range(len(lost)):
        total = 0
        for child in range(children[context], children[context + 1]):
            if not keep[child]:
                total += counts[child]
        lost[context] = total
