"""Count pruning: drop rare n-grams, and keep their mass for their contexts."""

import logging

import numpy as np

from lmkit.errors import UsageError
from lmkit.jit import kernel
from lmkit.specs import MOST_IDS
from lmkit_ngram.compaction import without
from lmkit_ngram.count import Counted, in_memory
from lmkit_ngram.options import NgramOptions
from lmkit_ngram.table import Allocate

log = logging.getLogger(__name__)


def thresholds(options: NgramOptions) -> tuple[int, ...]:
    """For each order, the raw count up to which its n-grams are dropped, from `--prune`.

    Counting must also give raw counts if any of them is not 0. Raises UsageError for a value that is not a list of
    whole numbers, does not begin with 0, decreases, or is longer than the order.
    """
    given = f"--prune '{options.prune}'"
    try:
        values = [int(value) for value in options.prune.replace(",", " ").split()]
    except ValueError:
        raise UsageError(f"{given}: not whole numbers; give one per order, such as '0 0 1'") from None
    if not values or min(values) < 0:
        raise UsageError(f"{given}: not one or more numbers from 0; give one per order, such as '0 0 1'")
    if values[0] != 0:
        raise UsageError(
            f"{given}: the first must be 0, since single words are never dropped: use '0 {values[0]}'"
        )
    if values != sorted(values):
        raise UsageError(f"{given}: the numbers must not decrease: use, for example, '0 0 1 1'")
    if len(values) > options.order:
        raise UsageError(
            f"{given}: {len(values)} numbers for --order {options.order}: give at most one per order"
        )
    values += values[-1:] * (options.order - len(values))
    return tuple(min(value, MOST_IDS) for value in values)


def check(options: NgramOptions) -> None:
    """Raise UsageError for a bad `--prune`, or for an option that needs probabilities with scores that are not."""
    thresholds(options)
    if options.smoothing != "stupid-backoff":
        return
    for name, given in (("--entropy-prune", options.entropy_prune), ("--quantize", options.quantize)):
        if given:
            raise UsageError(
                f"{name} needs probabilities, which --smoothing stupid-backoff does not give: use --prune"
            )


def drop_rare(counted: Counted, limits: tuple[int, ...], allocate: Allocate) -> np.ndarray:
    """Drop from `counted` the n-grams with raw counts of at most limits[order - 1].

    Its table and counts are replaced, its raw counts freed. Returns (contexts,) int32, the sum of the counts of the
    dropped n-grams after each kept context. All unigrams stay.
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
    counted.table = without(table, keep, allocate, in_memory)
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
