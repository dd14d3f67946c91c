"""Kernels of the infini-gram model: ranges of the sorted positions of a text, one for each context.

A context is a row of a state: low, high and length, for the positions [low, high) at which its `length` words occur.
Without words it is all positions. An index may come from an untrusted file, so every position is checked; kernels
return DAMAGED instead of reading outside the text.
"""

import math
from typing import NamedTuple

import numpy as np

from lmkit.jit import kernel
from lmkit_ngram.queries import DAMAGED, SOUND


class Index(NamedTuple):
    """The sorted text for kernels: read-only arrays (`TextIndex`).

    depth: the words to which positions are sorted, one more than the longest context has. least: the number of
    occurrences that a context has at least. tokens: of the text, with
    the `</s>` of its lines, whose number is `lines`.
    """

    text: np.ndarray
    positions: np.ndarray
    depth: int
    least: int
    eos_id: int
    vocab_size: int
    tokens: int
    lines: int


@kernel
def word_at(index: Index, place: int, offset: int) -> int:
    """The word `offset` words after a position, or DAMAGED."""
    position: int = index.positions[place]
    if position < 0 or position + offset >= len(index.text):
        return DAMAGED
    word: int = index.text[position + offset]
    return word


@kernel
def bound(index: Index, low: int, high: int, offset: int, word: int) -> int:
    """The first of [low, high) whose word at `offset` is not less than `word`; their words there ascend."""
    while low < high:
        middle = (low + high) >> 1
        if word_at(index, middle, offset) < word:
            low = middle + 1
        else:
            high = middle
    return low


@kernel
def find(index: Index, words: np.ndarray, count: int) -> tuple[int, int]:
    """The positions [low, high) at which the first `count` of `words` occur."""
    low, high = 0, len(index.positions)
    for offset in range(count):
        low = bound(index, low, high, offset, words[offset])
        high = bound(index, low, high, offset, words[offset] + 1)
        if low == high:
            break
    return low, high


@kernel
def begin(index: Index, state: np.ndarray) -> None:
    """Set the state to the context `<s>`, whose positions are the last, or to none if it is too rare."""
    end = len(index.positions)
    state[0], state[1], state[2] = 0, end, 0
    start = bound(index, 0, end, 0, index.vocab_size)
    if end - start >= index.least:
        state[0], state[2] = start, 1


@kernel
def step(index: Index, state: np.ndarray, word: int, words: np.ndarray) -> float:
    """The probability of a word after the context of a state, which becomes that of the next word; or DAMAGED.

    state: (3,) int64. words: room for `depth` words.
    """
    low, high, length = state[0], state[1], state[2]
    if not (0 <= low < high <= len(index.positions) and 0 <= length < index.depth):
        return DAMAGED
    first = bound(index, low, high, length, word)
    last = bound(index, first, high, length, word + 1)
    found = last - first
    if length == 0:
        found = index.lines if word == index.eos_id else found
    probability = found / (index.tokens if length == 0 else high - low)
    if word == index.eos_id:
        begin(index, state)
        return probability
    if found >= index.least and length + 1 < index.depth:
        state[0], state[1], state[2] = first, last, length + 1
        return probability
    for i in range(length):
        words[i] = word_at(index, low, i)
    words[length] = word
    shorten(index, state, words[: length + 1])
    return probability


@kernel
def shorten(index: Index, state: np.ndarray, words: np.ndarray) -> None:
    """Set the state to the longest end of `words`, but not all of them, that occurs often enough."""
    # If an end does, so do all shorter ones.
    shortest, longest = 0, len(words) - 1
    state[0], state[1], state[2] = 0, len(index.positions), 0
    while shortest < longest:
        count = (shortest + longest + 1) >> 1
        low, high = find(index, words[len(words) - count :], count)
        if high - low >= index.least:
            state[0], state[1], state[2] = low, high, count
            shortest = count
        else:
            longest = count - 1


@kernel
def score(index: Index, ids: np.ndarray, reset: np.ndarray, states: np.ndarray, scores: np.ndarray) -> int:
    """Fill scores (batch, time) float32 with natural log-probabilities, and update the states (batch, 3); or DAMAGED.

    ids: (batch, time) int32. reset: (batch, time) bool, where a line begins before a word, besides after `</s>`.
    """
    words = np.empty(index.depth, np.int32)
    for row in range(len(ids)):
        for t in range(ids.shape[1]):
            if reset[row, t]:
                begin(index, states[row])
            probability = step(index, states[row], ids[row, t], words)
            if probability < 0:
                return DAMAGED
            scores[row, t] = math.log(probability) if probability > 0 else -math.inf
    return SOUND


@kernel
def fill_rows(index: Index, states: np.ndarray, rows: np.ndarray) -> int:
    """Fill rows (batch, vocabulary) float32 with the log-probabilities after the contexts of states; or DAMAGED."""
    for row in range(len(states)):
        place, high, length = states[row, 0], states[row, 1], states[row, 2]
        if not (0 <= place < high <= len(index.positions) and 0 <= length < index.depth):
            return DAMAGED
        total = math.log(index.tokens if length == 0 else high - place)
        for word in range(index.vocab_size):
            rows[row, word] = -np.inf
        if length == 0:
            rows[row, index.eos_id] = math.log(index.lines) - total
        while place < high:
            word = word_at(index, place, length)
            if length == 0 and word == index.vocab_size:
                break  # `<s>`, the last word, which is never predicted
            if word < 0 or word >= index.vocab_size:
                return DAMAGED
            # Frequent words have long runs: double the distance to find the end.
            near, far = place, 1
            while place + far < high and word_at(index, place + far, length) == word:
                near = place + far
                far *= 2
            end = bound(index, near, min(place + far, high), length, word + 1)
            if end <= place:
                return DAMAGED
            rows[row, word] = math.log(end - place) - total
            place = end
    return SOUND
