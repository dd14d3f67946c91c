"""Sort the positions of a text by the words that follow them, only to the depth of the order.

Sorting stops at this depth and at the ends of lines, so its cost grows with the tokens and not with the text's
repetitions. The shared words of neighbours follow from the sorted keys.
"""

import numpy as np

from lmkit.jit import kernel
from lmkit_ngram.intrinsics import prefetch
from lmkit_ngram.sorting import INSERTION, QUICK, STACK, insertion_sort, quicksort, radix_sort

AHEAD = 24
"""Number of positions to prefetch words ahead."""
COUNTED = 100_000
"""Buckets of more positions are first split by their second word, by counting."""


@kernel
def bucket(text: np.ndarray, eos_id: int, positions: np.ndarray, starts: np.ndarray) -> None:
    """Fill positions with those of all words except `</s>`, by word; those of word w begin at starts[w].

    starts: (words + 1,) int64, zeros.
    """
    for i in range(len(text)):
        if text[i] != eos_id:
            starts[text[i] + 1] += 1
    for word in range(1, len(starts)):
        starts[word] += starts[word - 1]
    places = starts[:-1].copy()
    for i in range(len(text)):
        word = text[i]
        if word != eos_id:
            positions[places[word]] = i
            places[word] += 1


@kernel
def sort_buckets(
    text: np.ndarray,
    positions: np.ndarray,
    starts: np.ndarray,
    first_word: int,
    last_word: int,
    order: int,
    eos_id: int,
    bits: int,
    spans: np.ndarray,
) -> None:
    """Sort the buckets of the words first_word .. last_word - 1 to depth `order`, and mark new n-grams.

    bits: of a word's id. spans: (positions,) uint16, filled with `shared | available << 8`: the number of words
    that a position shares with the previous one (`order` if all), and the number that it has, at most `order`,
    including `</s>`. The n-grams of shared + 1 .. available words are new here.
    """
    per_key = max(1, min(64 // bits, order - 1))
    keys = np.empty(1 << 16, np.uint64)
    keys2 = np.empty(1 << 16, np.uint64)
    values2 = np.empty(1 << 16, np.int32)
    stack = np.empty(STACK, np.int64)
    # Groups still to be sorted: first slot, last slot, depth to which their words are equal.
    groups = np.empty((4096, 3), np.int64)
    word_counts = np.zeros(len(starts), np.int64)
    for word in range(first_word, last_word):
        first = starts[word]
        last = starts[word + 1]
        if first == last:
            continue
        for slot in range(first, last):
            spans[slot] = order
        spans[first] = 0
        height = 0
        if order > 1 and last - first > COUNTED:
            values2 = _room32(values2, last - first)
            groups, height = _split_by_second_word(
                text, positions, first, last, order, eos_id, spans, groups, word_counts, values2
            )
        elif order > 1 and last - first > 1:
            groups[0, 0] = first
            groups[0, 1] = last
            groups[0, 2] = 1
            height = 1
        while height > 0:
            height -= 1
            begin = groups[height, 0]
            end = groups[height, 1]
            depth = groups[height, 2]
            count = end - begin
            words = min(per_key, order - depth)
            keys = _room64(keys, count)
            _pack(text, positions, begin, end, depth, words, eos_id, bits, keys)
            values = positions[begin:end]
            if count <= INSERTION:
                insertion_sort(keys, values, int(np.int64(0)), count)
            elif count < QUICK:
                quicksort(keys, values, count, stack)
            else:
                keys2 = _room64(keys2, count)
                values2 = _room32(values2, count)
                radix_sort(keys, values, count, words * bits, keys2, values2)
            groups, height = _compare(
                text, positions, begin, count, depth, words, order, eos_id, bits, keys, spans, groups, height
            )
        for slot in range(first, last):
            if slot + AHEAD < len(positions):
                prefetch(text, positions[slot + AHEAD])
            spans[slot] |= _available(text, positions[slot], order, eos_id) << 8


@kernel
def _room64(array: np.ndarray, count: int) -> np.ndarray:
    return array if len(array) >= count else np.empty(2 * count, np.uint64)


@kernel
def _room32(array: np.ndarray, count: int) -> np.ndarray:
    return array if len(array) >= count else np.empty(2 * count, np.int32)


@kernel
def _available(text: np.ndarray, position: int, order: int, eos_id: int) -> int:
    """The number of words of n-grams from a position on: to its line's `</s>`, at most `order`."""
    length = 1
    while length < order and text[position + length - 1] != eos_id:
        length += 1
    return length


@kernel
def _pack(
    text: np.ndarray,
    positions: np.ndarray,
    begin: int,
    end: int,
    depth: int,
    words: int,
    eos_id: int,
    bits: int,
    keys: np.ndarray,
) -> None:
    """One key per position: its words from `depth` on, the first in the highest bits, zeros after `</s>`."""
    width = np.uint64(bits)
    for slot in range(begin, end):
        if slot + AHEAD < len(positions):
            # The words may be in two cache lines.
            prefetch(text, positions[slot + AHEAD] + depth)
            prefetch(text, positions[slot + AHEAD] + depth + words - 1)
        place = positions[slot] + depth
        key = np.uint64(0)
        taken = 0
        while taken < words:
            word = text[place + taken]
            key = (key << width) | np.uint64(word)
            taken += 1
            if word == eos_id:
                # A shift by all 64 bits cannot happen, since there is at least one word.
                key <<= np.uint64(bits * (words - taken))
                break
        keys[slot - begin] = key


@kernel
def _compare(
    text: np.ndarray,
    positions: np.ndarray,
    begin: int,
    count: int,
    depth: int,
    words: int,
    order: int,
    eos_id: int,
    bits: int,
    keys: np.ndarray,
    spans: np.ndarray,
    groups: np.ndarray,
    height: int,
) -> tuple[np.ndarray, int]:
    """The shared words of sorted neighbours, and the groups of equal keys to sort further."""
    run = 0
    for i in range(1, count + 1):
        if i < count and keys[i] == keys[i - 1]:
            continue
        if i < count:
            difference = keys[i] ^ keys[i - 1]
            equal = words - 1
            while difference >> np.uint64(bits):
                difference >>= np.uint64(bits)
                equal -= 1
            spans[begin + i] = depth + equal
        if i - run > 1 and depth + words < order:
            place = positions[begin + run] + depth
            ended = False
            for k in range(words):
                ended |= text[place + k] == eos_id
                if ended:
                    break
            if not ended:
                groups = _grown(groups, height)
                groups[height, 0] = begin + run
                groups[height, 1] = begin + i
                groups[height, 2] = depth + words
                height += 1
        run = i
    return groups, height


@kernel
def _split_by_second_word(
    text: np.ndarray,
    positions: np.ndarray,
    first: int,
    last: int,
    order: int,
    eos_id: int,
    spans: np.ndarray,
    groups: np.ndarray,
    word_counts: np.ndarray,
    scratch: np.ndarray,
) -> tuple[np.ndarray, int]:
    """Sort a large bucket by the next word, by counting; return the groups to sort further."""
    for slot in range(first, last):
        word_counts[text[positions[slot] + 1]] += 1
    height = int(np.int64(0))  # for a 0, numba would compile `_grown` once more
    at = 0
    for word in range(len(word_counts)):
        count = word_counts[word]
        if count == 0:
            continue
        word_counts[word] = at
        if at > 0:
            spans[first + at] = 1
        if count > 1 and word != eos_id and order > 2:
            groups = _grown(groups, height)
            groups[height, 0] = first + at
            groups[height, 1] = first + at + count
            groups[height, 2] = 2
            height += 1
        at += count
    for slot in range(first, last):
        word = text[positions[slot] + 1]
        scratch[word_counts[word]] = positions[slot]
        word_counts[word] += 1
    for slot in range(first, last):
        positions[slot] = scratch[slot - first]
    for word in range(len(word_counts)):
        word_counts[word] = 0
    return groups, height


@kernel
def _grown(groups: np.ndarray, height: int) -> np.ndarray:
    """The stack with room for one more group."""
    if height < len(groups):
        return groups
    larger = np.empty((2 * len(groups), 3), np.int64)
    # Not by slices: numba would compile their error messages, which takes four seconds.
    for i in range(height):
        for j in range(3):
            larger[i, j] = groups[i, j]
    return larger
