"""Kernels that compute the n-grams of every order and their counts from sorted positions, in one pass."""

import numpy as np

from lmkit.jit import kernel
from lmkit_ngram.intrinsics import prefetch

FAR, NEAR = 32, 14
"""Number of slots to prefetch ahead: first the index, then its target."""
STREAMS = 16
"""Number of slots ahead of which the places that `link` will write to and read are prefetched."""


@kernel
def add_starts(tokens: np.ndarray, eos_id: int, start_id: int, text: np.ndarray) -> None:
    """Fill text with the tokens, and `<s>` before each line; the last token is a `</s>`."""
    at = 0
    begins = True
    for token in tokens:
        if begins:
            text[at] = start_id
            at += 1
        text[at] = token
        at += 1
        begins = token == eos_id


@kernel
def link(
    text: np.ndarray,
    positions: np.ndarray,
    starts: np.ndarray,
    spans: np.ndarray,
    eos_id: int,
    next_slots: np.ndarray,
    before: np.ndarray,
) -> None:
    """Fill next_slots[i] with a slot whose words are those one word after slot i's (-1: it is `</s>`).

    before[next_slots[i]] becomes spans[i]; it is unchanged for positions of `<s>`, which have no word before them.
    In a walk through all slots in order, the words before them reach the slots of each word's bucket in order too,
    since a bucket is sorted by the words that follow. (Positions that are equal to the depth of the sorting are
    interchangeable: their n-grams are the same.)
    """
    next_in = starts[:-1].copy()
    start_id = len(starts) - 2
    for word in range(len(starts) - 1):
        if word == eos_id:
            for position in range(1, len(text)):
                if text[position] == eos_id:
                    previous = text[position - 1]
                    next_slots[next_in[previous]] = -1
                    next_in[previous] += 1
        elif word != start_id:
            for slot in range(starts[word], starts[word + 1]):
                if slot + FAR + STREAMS < len(positions):
                    prefetch(text, positions[slot + FAR + STREAMS] - 1)
                    soon = int(next_in[text[positions[slot + STREAMS] - 1]])
                    prefetch(next_slots, soon)
                    prefetch(spans, soon)
                previous = text[positions[slot] - 1]
                i = next_in[previous]
                next_in[previous] = i + 1
                next_slots[i] = slot
                before[slot] = spans[i]


@kernel
def mark(spans: np.ndarray, order: int, marks: np.ndarray, first_block: int, last_block: int) -> None:
    """Set marks[block, k - 2, 0] to the slots of a block of 64 at which an n-gram of k words is new, a bit each."""
    for block in range(first_block, last_block):
        first = block << 6
        for length in range(2, order + 1):
            bits = np.uint64(0)
            # Without a branch, so that the compiler does several slots at once.
            for slot in range(first, min(first + 64, len(spans))):
                span = np.int64(spans[slot])
                new = (span & 255 < length) & (span >> 8 >= length)
                bits |= np.uint64(new) << np.uint64(slot - first)
            marks[block, length - 2, 0] = bits


@kernel
def accumulate(marks: np.ndarray) -> np.ndarray:
    """Set marks[block, k - 2, 1] to the number of n-grams of k words that are new before a block; return all, by k."""
    totals = np.zeros(marks.shape[1], np.int64)
    for which in range(marks.shape[1]):
        for block in range(marks.shape[0]):
            marks[block, which, 1] = totals[which]
            totals[which] += np.int64(_ones(marks[block, which, 0]))
    return totals


@kernel
def _ones(bits: np.uint64) -> np.uint64:
    """The number of set bits; compilers recognise this form and use the processor's instruction."""
    bits = bits - ((bits >> np.uint64(1)) & np.uint64(0x5555555555555555))
    bits = (bits & np.uint64(0x3333333333333333)) + ((bits >> np.uint64(2)) & np.uint64(0x3333333333333333))
    bits = (bits + (bits >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (bits * np.uint64(0x0101010101010101)) >> np.uint64(56)


@kernel
def fill(
    text: np.ndarray,
    positions: np.ndarray,
    spans: np.ndarray,
    next_slots: np.ndarray,
    before: np.ndarray,
    marks: np.ndarray,
    starts: np.ndarray,
    first_word: int,
    last_word: int,
    order: int,
    continuation: bool,
    offsets: np.ndarray,
    words: np.ndarray,
    suffixes: np.ndarray,
    children: np.ndarray,
    counts: np.ndarray,
) -> int:
    """Write the n-grams that begin with the words first_word .. last_word - 1, of every order, and their counts.

    A slot at which an n-gram of k words is new gives it the next id of that order; the id of the n-gram without
    its first word is found by counting marks up to the next slot. The highest order's counts are raw. So are all
    others without `continuation`; with it, an n-gram's count is the number of distinct words before it, but raw
    if it begins with `<s>` (the last word), which has no word before it.
    Returns the number of bigrams that end in `</s>`, which has no slot.
    """
    start_id = len(starts) - 2
    flat = marks.reshape(-1)
    row = 2 * (order - 1)
    next_ids = np.empty(order + 1, np.int64)  # for each order, the id of the next new n-gram
    slot = starts[first_word]
    for length in range(2, order + 1):
        next_ids[length] = offsets[length - 1] + _rank(marks, slot - 1, length)
    distinct_ends = 0
    for word in range(first_word, last_word):
        if order > 1:
            children[word] = next_ids[2]
        raw = not continuation or word == start_id
        for slot in range(starts[word], starts[word + 1]):
            if slot + FAR < len(next_slots):
                # The words of an n-gram may be in two cache lines.
                prefetch(text, positions[slot + FAR] + 1)
                prefetch(text, positions[slot + FAR] + order - 1)
            if slot + NEAR < len(next_slots) and next_slots[slot + NEAR] >= 0:
                prefetch(flat, (next_slots[slot + NEAR] >> 6) * row)
            shared = spans[slot] & 255
            available = spans[slot] >> 8
            if shared < available:
                position = positions[slot]
                following = next_slots[slot]
                for length in range(max(shared + 1, 2), available + 1):
                    new = next_ids[length]
                    next_ids[length] = new + 1
                    words[new] = text[position + length - 1]
                    if length == 2:
                        suffixes[new] = text[position + 1]
                        distinct_ends += following < 0
                    else:
                        suffixes[new] = offsets[length - 2] + _rank(marks, following, length - 1) - 1
                    if length < order:
                        children[new] = next_ids[length + 1]
                    counts[new] = 0
            if raw:
                for length in range(2, available + 1):
                    counts[next_ids[length] - 1] += 1
            else:
                # Each new n-gram one word before this position adds a left neighbour to its suffix.
                for length in range(max(before[slot] & 255, 1), before[slot] >> 8):
                    if length == 1:
                        counts[word] += 1
                    else:
                        counts[next_ids[length] - 1] += 1
                if available == order and order > 1:
                    counts[next_ids[order] - 1] += 1
    return distinct_ends


@kernel
def _rank(marks: np.ndarray, slot: int, length: int) -> np.int64:
    """The number of new n-grams of `length` words up to and including a slot."""
    if slot < 0:
        return np.int64(0)
    block = slot >> 6
    upto = (np.uint64(2) << np.uint64(slot & 63)) - np.uint64(1)
    bits = marks[block, length - 2, 0] & upto
    return np.int64(marks[block, length - 2, 1]) + np.int64(_ones(bits))
