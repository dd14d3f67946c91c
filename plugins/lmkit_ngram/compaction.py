"""A table without some of its n-grams."""

import numpy as np

from lmkit.jit import kernel
from lmkit_ngram.table import Allocate, NgramTable


def without(table: NgramTable, keep: np.ndarray, allocate: Allocate) -> NgramTable:
    """A new table of the kept n-grams, with their log_probs and backoffs unchanged.

    keep: (total,) bool; true for all unigrams, and for the suffix and the context of each kept n-gram.
    allocate: creates the new arrays, while the old ones are still in use.
    """
    kept_before = np.zeros(table.total + 1, table.link)
    np.cumsum(keep, out=kept_before[1:])
    offsets = kept_before[table.offsets].astype(np.int64)
    new = NgramTable.allocated(table.vocab_size, offsets, allocate)
    _move(
        kept_before, table.words, table.suffixes, table.children, table.log_probs, table.backoffs,
        new.words, new.suffixes, new.children, new.log_probs, new.backoffs,
    )  # fmt: skip
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
) -> None:
    """Copy the kept n-grams; kept_before[i] is the new id of n-gram i, kept if kept_before[i + 1] differs."""
    for old in range(len(words)):
        new = kept_before[old]
        if kept_before[old + 1] == new:
            continue
        new_words[new] = words[old]
        new_suffixes[new] = kept_before[suffixes[old]] if suffixes[old] >= 0 else -1
        new_log_probs[new] = log_probs[old]
        if old < len(backoffs):
            new_backoffs[new] = backoffs[old]
            new_children[new] = kept_before[children[old]]
    new_children[len(new_backoffs)] = len(new_words)
