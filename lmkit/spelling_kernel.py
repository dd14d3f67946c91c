"""The code lengths of many spellings at once: a compiled loop, since numpy takes 0.2 ms for one short word."""

import math

import numpy as np

from lmkit.jit import kernel


@kernel
def _find(values: np.ndarray, first: int, end: int, wanted: int) -> int:
    """The index of a value in the sorted values[first:end]; -1 if it is not there."""
    low, high = first, end
    while low < high:
        middle = (low + high) // 2
        if values[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    return low if low < end and values[low] == wanted else -1


@kernel
def spelled(
    raw: np.ndarray,
    ends: np.ndarray,
    unigram: np.ndarray,
    keys: np.ndarray,
    counts: np.ndarray,
    contexts: np.ndarray,
    totals: np.ndarray,
    followers: np.ndarray,
    key_ends: np.ndarray,
    context_ends: np.ndarray,
) -> np.ndarray:
    """(words,) float64: -log2 of the probability of each word's bytes and of its end (`SpellingCode.probabilities`).

    raw: the bytes of all words; ends: (words,) where each ends in them. unigram: (symbols,) probabilities, the last
    one of a word's boundary. The others: the arrays of each order from 2 on, one order after another, whose ends
    are key_ends and context_ends.
    """
    found = np.zeros(len(ends))
    symbols = len(unigram)
    boundary = symbols - 1
    start = 0
    for word in range(len(ends)):
        end = ends[word]
        for place in range(start, end + 1):
            symbol = raw[place] if place < end else boundary
            probability = unigram[symbol]
            context, power = 0, 1
            for level in range(len(key_ends) - 1):
                back = place - level - 1
                context += power * (raw[back] if back >= start else boundary)
                power *= symbols
                seen = _find(contexts, context_ends[level], context_ends[level + 1], context)
                if seen < 0:
                    break  # longer contexts are not seen either
                key = _find(keys, key_ends[level], key_ends[level + 1], context * symbols + symbol)
                count = counts[key] if key >= 0 else 0.0
                probability = (count + followers[seen] * probability) / (totals[seen] + followers[seen])
            found[word] -= math.log2(probability)
        start = end
    return found
