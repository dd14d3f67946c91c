"""Sort 64-bit keys with their values, by a method that suits the size."""

import numpy as np

from lmkit.jit import kernel

INSERTION = 20
"""Up to this many pairs, insertion sort is fastest."""
QUICK = 1500
"""Up to this many, quicksort; above, radix sort, whose number of passes does not depend on the size."""
DIGIT = 11
"""Bits of a radix sort's digit: its 2048 counts stay in the first cache."""
STACK = 256
"""Entries of quicksort's stack; the larger part is always postponed, so 2 log2(n) suffice."""


@kernel
def insertion_sort(keys: np.ndarray, values: np.ndarray, first: int, last: int) -> None:
    """Sort keys[first:last], and values with them."""
    for i in range(first + 1, last):
        key = keys[i]
        value = values[i]
        j = i - 1
        while j >= first and keys[j] > key:
            keys[j + 1] = keys[j]
            values[j + 1] = values[j]
            j -= 1
        keys[j + 1] = key
        values[j + 1] = value


@kernel
def quicksort(keys: np.ndarray, values: np.ndarray, count: int, stack: np.ndarray) -> None:
    """Sort keys[:count] by three-way partitions about the median of three: equal keys are common here."""
    stack[0] = 0
    stack[1] = count
    height = 2
    while height > 0:
        height -= 2
        first = stack[height]
        last = stack[height + 1]
        while last - first > INSERTION:
            a = keys[first]
            b = keys[(first + last) >> 1]
            c = keys[last - 1]
            pivot = max(min(a, b), min(max(a, b), c))
            below = first
            above = last
            i = first
            while i < above:
                key = keys[i]
                value = values[i]
                if key < pivot:
                    keys[i] = keys[below]
                    keys[below] = key
                    values[i] = values[below]
                    values[below] = value
                    below += 1
                    i += 1
                elif key > pivot:
                    above -= 1
                    keys[i] = keys[above]
                    keys[above] = key
                    values[i] = values[above]
                    values[above] = value
                else:
                    i += 1
            if below - first < last - above:
                stack[height] = above
                stack[height + 1] = last
                last = below
            else:
                stack[height] = first
                stack[height + 1] = below
                first = above
            height += 2
        insertion_sort(keys, values, first, last)


@kernel
def radix_sort(
    keys: np.ndarray, values: np.ndarray, count: int, bits: int, keys2: np.ndarray, values2: np.ndarray
) -> None:
    """Sort keys[:count], which have `bits` bits, digit by digit from the lowest; keys2, values2: scratch."""
    mask = np.uint64((1 << DIGIT) - 1)
    starts = np.empty((1 << DIGIT) + 1, np.int64)
    some = np.uint64(0)
    every = ~np.uint64(0)
    for i in range(count):
        some |= keys[i]
        every &= keys[i]
    differing = some ^ every
    shift = int(np.int64(0))  # for a 0, numba would compile `_distribute` once more
    swapped = False
    while shift < bits:
        # A digit shared by all keys needs no pass.
        if (differing >> np.uint64(shift)) & mask:
            if swapped:
                _distribute(keys2, values2, keys, values, count, shift, mask, starts)
            else:
                _distribute(keys, values, keys2, values2, count, shift, mask, starts)
            swapped = not swapped
        shift += DIGIT
    if swapped:
        for i in range(count):
            keys[i] = keys2[i]
            values[i] = values2[i]


@kernel
def _distribute(
    keys: np.ndarray,
    values: np.ndarray,
    to_keys: np.ndarray,
    to_values: np.ndarray,
    count: int,
    shift: int,
    mask: np.uint64,
    starts: np.ndarray,
) -> None:
    """One stable pass: pairs in the order of the digit at `shift`."""
    starts[:] = 0
    for i in range(count):
        starts[np.int64((keys[i] >> np.uint64(shift)) & mask) + 1] += 1
    for digit in range(1, len(starts)):
        starts[digit] += starts[digit - 1]
    for i in range(count):
        digit = np.int64((keys[i] >> np.uint64(shift)) & mask)
        place = starts[digit]
        starts[digit] = place + 1
        to_keys[place] = keys[i]
        to_values[place] = values[i]
