"""Kernels for the convolution over characters and its maximum, from tables of the contributions of characters."""

import numpy as np

from lmkit.jit import kernel


@kernel
def highest(
    rows: np.ndarray, last: np.ndarray, table: np.ndarray, best: np.ndarray, place: np.ndarray
) -> None:
    """Fill best and place, both (words, filters), with a filter's highest sum over a word and the start of its window.

    rows: (words, length) characters. table: (width, characters, filters). last: the start of each word's last
    window. The first of equal sums wins. The sums of a word do not depend on the other words.
    """
    width, filters = table.shape[0], table.shape[2]
    total = np.empty(filters, table.dtype)
    for word in range(rows.shape[0]):
        row, own_best, own_place = rows[word], best[word], place[word]
        for begin in range(last[word] + 1):
            total[:] = table[0, row[begin]]
            for i in range(1, width):
                part = table[i, row[begin + i]]
                for f in range(filters):
                    total[f] += part[f]
            if begin == 0:
                own_best[:] = total
                own_place[:] = 0
            else:
                for f in range(filters):
                    higher = total[f] > own_best[f]
                    own_best[f] = total[f] if higher else own_best[f]
                    own_place[f] = begin if higher else own_place[f]


@kernel
def add_gradient(rows: np.ndarray, place: np.ndarray, gradient: np.ndarray, table: np.ndarray) -> None:
    """Add to table, (width, characters, filters), the gradient (words, filters) of the highest sums."""
    for word in range(rows.shape[0]):
        row = rows[word]
        for i in range(table.shape[0]):
            part = table[i]
            for f in range(table.shape[2]):
                part[row[place[word, f] + i], f] += gradient[word, f]
