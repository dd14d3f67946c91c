"""Kernels that walk through the n-grams of a model, and check every index in its arrays.

A state is the id of the longest n-gram that ends a text and can be a context; -1 without information. A table may
come from an untrusted file, so kernels return DAMAGED instead of following a link outside it; every link must lead
to a smaller id, so every walk ends.
"""

import heapq
import math
from typing import Any, NamedTuple

import numpy as np

from lmkit.jit import kernel
from lmkit_ngram.table import NgramTable, TextIndex

NOTHING = -1
"""The state without information; as the result of a search, no n-gram."""
DAMAGED = -2
SOUND = 0

LN10 = math.log(10)


class Grams(NamedTuple):
    """A table for kernels: read-only arrays, so that each kernel is compiled for one set of types.

    start: the state after `<s>`, or NOTHING if no n-gram is long enough to have a context.
    """

    order: int
    eos_id: int
    start: int
    contexts: int
    words: np.ndarray
    suffixes: np.ndarray
    children: np.ndarray
    log_probs: np.ndarray
    backoffs: np.ndarray


def as_grams(table: NgramTable, eos_id: int) -> Grams:
    """The table for kernels, without copies."""
    return Grams(
        table.order,
        eos_id,
        table.start if table.start < table.contexts else NOTHING,
        table.contexts,
        read_only(table.words),
        read_only(table.suffixes),
        read_only(table.children),
        read_only(table.log_probs),
        read_only(table.backoffs),
    )


def as_text(index: TextIndex) -> tuple[np.ndarray, np.ndarray]:
    """The text and its positions for kernels, without copies."""
    return read_only(index.text), read_only(index.positions)


def read_only(array: np.ndarray) -> np.ndarray:
    """The array for kernels that do not write to it, whether or not it is mapped from a file."""
    view = np.asarray(array).view()
    view.flags.writeable = False
    return view


@kernel
def first_from(words: np.ndarray, low: Any, high: Any, word: int) -> Any:
    """The first place from `low` on whose word is not below `word`, or `high`; words ascend between them."""
    while low < high:
        middle = (low + high) >> 1
        if words[middle] < word:
            low = middle + 1
        else:
            high = middle
    return low


@kernel
def find_child(children: np.ndarray, words: np.ndarray, state: int, word: int) -> int:
    """The id of the n-gram of `state` and one more word; NOTHING if there is none, or DAMAGED."""
    low, high = children[state], children[state + 1]
    if low <= state or high < low or high > len(words):
        return DAMAGED
    place = first_from(words, low, high, word)
    return place if place < high and words[place] == word else NOTHING


@kernel
def shorter(suffixes: np.ndarray, state: int) -> int:
    """The state without its first word, or DAMAGED."""
    suffix = suffixes[state]
    return suffix if NOTHING <= suffix < state else DAMAGED


@kernel
def state_after(suffixes: np.ndarray, contexts: int, ngram: int) -> int:
    """The state after an n-gram that does not end in `</s>`, or DAMAGED."""
    if ngram < contexts:
        return ngram
    suffix = suffixes[ngram]
    return suffix if NOTHING <= suffix < contexts else DAMAGED


@kernel
def score_rows(
    grams: Grams, ids: np.ndarray, reset: np.ndarray, states: np.ndarray, scores: np.ndarray
) -> int:
    """SOUND, with the log10 probability of each word in `scores` and the new states in `states`, or DAMAGED.

    ids: (batch, time) int32. reset: (batch, time) bool, beginnings of lines besides those after each `</s>`.
    states: (batch,) int64. scores: (batch, time) float32. Backoffs are added from the shortest context to the
    longest, in float32, as KenLM does, so that the sums are equal to the last bit.
    """
    pending = np.empty(grams.order, np.float32)  # the backoffs of the dropped contexts
    for row in range(len(ids)):
        state = states[row]
        if state < NOTHING or state >= grams.contexts:
            return DAMAGED
        for t in range(ids.shape[1]):
            word = ids[row, t]
            if reset[row, t]:
                state = grams.start
            depth = 0
            while True:
                if state == NOTHING:
                    ngram = word
                    break
                ngram = find_child(grams.children, grams.words, state, word)
                if ngram != NOTHING:
                    break
                if depth == len(pending):
                    return DAMAGED
                pending[depth] = grams.backoffs[state]
                depth += 1
                state = shorter(grams.suffixes, state)
                if state == DAMAGED:
                    return DAMAGED
            if ngram == DAMAGED:
                return DAMAGED
            log_prob = grams.log_probs[ngram]
            for i in range(depth - 1, -1, -1):
                log_prob += pending[i]
            scores[row, t] = log_prob
            state = grams.start
            if word != grams.eos_id:
                state = state_after(grams.suffixes, grams.contexts, ngram)
                if state == DAMAGED:
                    return DAMAGED
        states[row] = state
    return SOUND


@kernel
def find_chain(grams: Grams, state: int, lift: float, chain: np.ndarray, weights: np.ndarray) -> int:
    """The number of contexts from `state` to its shortest suffix, or DAMAGED.

    chain: (order,) int64 gets their ids. weights: (order + 1,) float64 gets the sum of the backoffs of the
    contexts before each, the weight of its children; the one past the last is the weight of the unigrams. lift:
    log10 of a factor of all scores after this state.
    """
    if state < NOTHING or state >= grams.contexts:
        return DAMAGED
    depth = 0
    weights[0] = lift
    while state != NOTHING:
        low, high = grams.children[state], grams.children[state + 1]
        if low <= state or high < low or high > len(grams.words) or depth == len(chain):
            return DAMAGED
        chain[depth] = state
        weights[depth + 1] = weights[depth] + grams.backoffs[state]
        depth += 1
        state = shorter(grams.suffixes, state)
        if state == DAMAGED:
            return DAMAGED
    return depth


@kernel
def fill_distributions(grams: Grams, states: np.ndarray, lifts: np.ndarray, rows: np.ndarray) -> int:
    """SOUND, with the natural log-probability of every next word in `rows`, or DAMAGED.

    states: (batch,) int64. lifts: (batch,) float64, as for `find_chain`. rows: (batch, vocabulary) float32. Each
    row starts with the shortest context; longer ones overwrite the words that they have, so the time is that of the
    vocabulary plus their children.
    """
    chain, weights = np.empty(grams.order, np.int64), np.empty(grams.order + 1)
    vocab_size = rows.shape[1]
    for row in range(len(states)):
        depth = find_chain(grams, states[row], lifts[row], chain, weights)
        if depth == DAMAGED:
            return DAMAGED
        for word in range(vocab_size):
            rows[row, word] = (grams.log_probs[word] + weights[depth]) * LN10
        for level in range(depth - 1, -1, -1):
            for child in range(grams.children[chain[level]], grams.children[chain[level] + 1]):
                word = grams.words[child]
                if word < 0 or word >= vocab_size:
                    return DAMAGED
                rows[row, word] = (grams.log_probs[child] + weights[level]) * LN10
    return SOUND


@kernel
def in_longer(grams: Grams, chain: np.ndarray, level: int, word: int) -> bool:
    """Whether a context before `level` has the word as a child."""
    for longer in range(level):  # noqa: SIM110  (numba compiles no generator in any())
        if find_child(grams.children, grams.words, chain[longer], word) != NOTHING:
            return True
    return False


@kernel
def find_top(
    grams: Grams, state: int, lift: float, vocab_size: int, words: np.ndarray, log_probs: np.ndarray
) -> int:
    """SOUND, with the most probable next words, best first, ties by id, or DAMAGED.

    words: (k,) int64, k at most the size of the vocabulary. log_probs: (k,) float32, natural. Only k words are sorted.
    """
    chain, weights = np.empty(grams.order, np.int64), np.empty(grams.order + 1)
    depth = find_chain(grams, state, lift, chain, weights)
    if depth == DAMAGED:
        return DAMAGED
    best = [(0.0, 0) for _ in range(0)]  # a heap with the worst on top; the empty list needs a type
    for level in range(depth + 1):
        if level < depth:
            first = grams.children[chain[level]]
            last = grams.children[chain[level] + 1]
        else:
            first, last = 0, vocab_size
        for ngram in range(first, last):
            word = grams.words[ngram] if level < depth else ngram
            if word < 0 or word >= vocab_size:
                return DAMAGED
            # Rounded as in `fill_distributions`, so that the same values are equal.
            log_prob = np.float32((grams.log_probs[ngram] + weights[level]) * LN10)
            found = (np.float64(log_prob), -word)
            if len(best) == len(words) and found < best[0]:
                continue
            if in_longer(grams, chain, level, word):
                continue
            if len(best) < len(words):
                heapq.heappush(best, found)
            else:
                heapq.heapreplace(best, found)
    for i in range(len(best) - 1, -1, -1):
        log_probs[i], negated = heapq.heappop(best)
        words[i] = -negated
    return SOUND


@kernel
def compare(text: np.ndarray, position: int, ids: np.ndarray, depth: int) -> int:
    """-1, 0 or 1: the comparison of the words of the text from `position` with the first `depth` of `ids`."""
    for i in range(depth):
        if position + i >= len(text) or text[position + i] < ids[i]:
            return -1
        if text[position + i] > ids[i]:
            return 1
    return 0


@kernel
def count_ngram(text: np.ndarray, positions: np.ndarray, ids: np.ndarray, order: int) -> int:
    """The count of the consecutive words `ids` in the text, or DAMAGED.

    ids: (words,) int32, at least one; `<s>` only first, `</s>` only last and not alone.
    order: the depth to which the positions are sorted; longer n-grams are compared word by word beyond it.
    """
    depth = min(len(ids), order)
    bounds = np.zeros(2, np.int64)
    for side in range(2):
        low, high = 0, len(positions)
        while low < high:
            middle = (low + high) >> 1
            position = positions[middle]
            if position < 0:
                return DAMAGED
            if compare(text, position, ids, depth) < side:
                low = middle + 1
            else:
                high = middle
        bounds[side] = low
    if len(ids) == depth:
        return max(bounds[1] - bounds[0], 0)
    count = 0
    for i in range(bounds[0], bounds[1]):
        position = positions[i]
        if position < 0:
            return DAMAGED
        if compare(text, position, ids, len(ids)) == 0:
            count += 1
    return count
