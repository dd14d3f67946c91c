"""Kernels that write the lines of ARPA files into buffers of bytes."""

import math

import numpy as np

from lmkit.jit import kernel

DIGITS = 9
"""This many significant digits distinguish any two float32 numbers."""
LIMIT = 10**DIGITS
TEN = np.uint32(10)
POWERS = np.array([10.0**i for i in range(64)])
USUAL_FROM, USUAL_TO = 1e-4, 1e8
"""Between these, the power of ten needs no logarithm."""
ROOM_FOR_NUMBERS = 160
"""Bytes for two numbers and separators: the smallest float32 needs 56 without an exponent."""
ZERO = -99.0
"""The text for log 0, as in SRILM."""
WRONG_NUMBER, DAMAGED = -1, -2
"""Return values of kernels instead of a size: NaN in place of a number; a link outside the table."""

TAB, NEWLINE, BLANK, MINUS, POINT, NOUGHT = 9, 10, 32, 45, 46, 48


@kernel
def put_number(number: np.float32, out: np.ndarray, at: int) -> int:
    """Write a float32 so that reading it gives the same bits, -inf as -99; return its end, or WRONG_NUMBER.

    Never with an exponent, which some readers do not accept.
    """
    value = np.float64(number)
    if math.isnan(value) or value == math.inf:
        return WRONG_NUMBER
    if value == -math.inf:
        value = ZERO
    if value < 0 or (value == 0 and math.copysign(1.0, value) < 0):
        out[at] = MINUS
        at += 1
        value = -value
    if value == 0:
        out[at] = NOUGHT
        return at + 1
    # value = digits * 10 ** (exponent - 8), with nine digits.
    exponent = 0
    if USUAL_FROM <= value < USUAL_TO:
        while value * POWERS[-exponent] < 1:
            exponent -= 1
        while value >= POWERS[exponent + 1]:
            exponent += 1
    else:
        exponent = math.floor(math.log10(value))
    shift = DIGITS - 1 - exponent
    digits = int((value * POWERS[shift] if shift >= 0 else value / POWERS[-shift]) + 0.5)
    if digits >= LIMIT:  # rounded up to ten digits, or the logarithm was a little too low
        digits = (digits + 5) // 10
        exponent += 1
    while digits * 10 < LIMIT:  # the logarithm was a little too high
        digits *= 10
        exponent -= 1
    return put_digits(digits, exponent, out, at)


@kernel
def put_digits(digits: int, exponent: int, out: np.ndarray, at: int) -> int:
    """Write nine digits, the first of which counts 10 ** exponent, without trailing zeros."""
    point = exponent + 1
    if point <= 0:
        out[at] = NOUGHT
        out[at + 1] = POINT
        at += 2
        for _ in range(-point):
            out[at] = NOUGHT
            at += 1
    last = at + DIGITS
    if 0 < point < DIGITS:
        last += 1
    place = last
    # Unsigned divisions by a constant compile to multiplications.
    rest = np.uint32(digits)
    for i in range(DIGITS - 1, -1, -1):
        place -= 1
        before = rest // TEN
        out[place] = NOUGHT + (rest - before * TEN)
        rest = before
        if i == point:
            place -= 1
            out[place] = POINT
    if point < DIGITS:
        while out[last - 1] == NOUGHT:
            last -= 1
        if out[last - 1] == POINT:
            last -= 1
    for _ in range(point - DIGITS):
        out[last] = NOUGHT
        last += 1
    return last


@kernel
def put_word(word: int, pool: np.ndarray, starts: np.ndarray, out: np.ndarray, at: int) -> int:
    for i in range(starts[word], starts[word + 1]):
        out[at] = pool[i]
        at += 1
    return at


@kernel
def put_log_prob(log_probs: np.ndarray, ngram: int, out: np.ndarray, at: int) -> int:
    """Write a log-probability and a tab; rounding can leave one a little above 0, which readers refuse."""
    at = put_number(min(log_probs[ngram], np.float32(0)), out, at)
    if at != WRONG_NUMBER:
        out[at] = TAB
        at += 1
    return at


@kernel
def put_end(backoffs: np.ndarray, ngram: int, with_backoff: bool, out: np.ndarray, at: int) -> int:
    """End a line, after its backoff if there is one."""
    if with_backoff:
        out[at] = TAB
        at = put_number(backoffs[ngram], out, at + 1)
        if at == WRONG_NUMBER:
            return at
    out[at] = NEWLINE
    return at + 1


@kernel
def write_unigrams(
    ids: np.ndarray,
    first: int,
    pool: np.ndarray,
    starts: np.ndarray,
    log_probs: np.ndarray,
    backoffs: np.ndarray,
    with_backoffs: bool,
    out: np.ndarray,
) -> tuple[int, int]:
    """Write the unigrams from ids[first] on that fit; return the first one left, and the bytes written."""
    at = 0
    for place in range(first, len(ids)):
        word = ids[place]
        if at + ROOM_FOR_NUMBERS + starts[word + 1] - starts[word] > len(out):
            return place, at
        at = put_log_prob(log_probs, word, out, at)
        if at != WRONG_NUMBER:
            at = put_word(word, pool, starts, out, at)
            at = put_end(backoffs, word, with_backoffs, out, at)
        if at == WRONG_NUMBER:
            return place, WRONG_NUMBER
    return len(ids), at


@kernel
def write_ngrams(
    order: int,
    end: int,
    words: np.ndarray,
    children: np.ndarray,
    log_probs: np.ndarray,
    backoffs: np.ndarray,
    with_backoffs: bool,
    pool: np.ndarray,
    starts: np.ndarray,
    path: np.ndarray,
    context: np.ndarray,
    out: np.ndarray,
) -> int:
    """Write n-grams of more than one word from path[-1] on, as many as fit; return the bytes written.

    path: (order,) int64, the next n-gram after those of its first 1, 2 ... words; updated. end: the id
    after the last of this order. context: scratch for the text of all words but the last.
    """
    at = 0
    length = -1
    last = order - 1
    while path[last] < end:
        ngram = path[last]
        if length < 0 or ngram >= children[path[last - 1] + 1]:
            length = put_context(path, words, children, pool, starts, context)
            if length == DAMAGED:
                return DAMAGED
        word = int(words[ngram])
        if not 0 <= word < len(starts) - 1:
            return DAMAGED
        if at + ROOM_FOR_NUMBERS + length + starts[word + 1] - starts[word] > len(out):
            return at
        at = put_log_prob(log_probs, ngram, out, at)
        if at == WRONG_NUMBER:
            return at
        for i in range(length):
            out[at] = context[i]
            at += 1
        at = put_word(word, pool, starts, out, at)
        at = put_end(backoffs, ngram, with_backoffs, out, at)
        if at == WRONG_NUMBER:
            return at
        path[last] = ngram + 1
    return at


@kernel
def put_context(
    path: np.ndarray,
    words: np.ndarray,
    children: np.ndarray,
    pool: np.ndarray,
    starts: np.ndarray,
    context: np.ndarray,
) -> int:
    """Move the contexts in `path` to those of its last n-gram, and write their words; the length, or DAMAGED."""
    for i in range(len(path) - 2, -1, -1):
        while path[i + 1] >= children[path[i] + 1]:
            path[i] += 1
            if path[i] + 1 >= len(children):
                return DAMAGED
    length = 0
    for i in range(len(path) - 1):
        word = int(words[path[i]])
        if not 0 <= word < len(starts) - 1:
            return DAMAGED
        length = put_word(word, pool, starts, context, length)
        context[length] = BLANK
        length += 1
    return length
