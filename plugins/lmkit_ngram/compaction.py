"""A table without some of its n-grams."""

import numpy as np

from lmkit.jit import kernel
from lmkit.mapped import let_go
from lmkit_ngram.table import Allocate, NgramTable
from lmkit_ngram.threads import pieces

SEGMENT = 1 << 22
"""N-grams to process before the memory of mapped arrays is released."""


def without(table: NgramTable, keep: np.ndarray, allocate: Allocate, scratch: Allocate) -> NgramTable:
    """A new table of the kept n-grams, with their log_probs and backoffs unchanged.

    keep: (total,) bool; true for all unigrams, and for the suffix and the context of each kept n-gram.
    allocate: creates the new arrays, while the old ones are still in use. scratch: creates another one.
    """
    kept_before = scratch("kept-before", table.total + 1, table.link)
    kept_before[0] = 0
    for first, last in pieces(0, table.total, SEGMENT):
        before = kept_before[first]
        np.cumsum(keep[first:last], out=kept_before[first + 1 : last + 1])
        kept_before[first + 1 : last + 1] += before
        let_go(keep, kept_before)
    offsets = kept_before[table.offsets].astype(np.int64)
    new = NgramTable.allocated(table.vocab_size, offsets, allocate)
    old = (table.words, table.suffixes, table.children, table.log_probs, table.backoffs)
    arrays = (new.words, new.suffixes, new.children, new.log_probs, new.backoffs)
    for first, last in pieces(0, table.total, SEGMENT):
        _move(kept_before, *old, *arrays, first, last)
        let_go(kept_before, *old, *arrays)
    return new


@kernel
def _move(
    kept_before: np.ndarray,
    words: np.ndarray,
    suffixes: np.ndarray,
    children: np.ndarray,
    log_probs: np.ndarray,
    backoffs: np.ndarray,
    new_words: np.ndarray,
    new_suffixes: np.ndarray,
    new_children: np.ndarray,
    new_log_probs: np.ndarray,
    new_backoffs: np.ndarray,
    first: int,
    last: int,
) -> None:
    """Copy the n-grams of first .. last - 1 that are kept.

    kept_before[i] is the new id of n-gram i, kept if kept_before[i + 1] differs.
    """
    for old in range(first, last):
        new = kept_before[old]
        if kept_before[old + 1] == new:
            continue
        new_words[new] = words[old]
        new_suffixes[new] = kept_before[suffixes[old]] if suffixes[old] >= 0 else -1
        new_log_probs[new] = log_probs[old]
        if old < len(backoffs):
            new_backoffs[new] = backoffs[old]
            new_children[new] = kept_before[children[old]]
