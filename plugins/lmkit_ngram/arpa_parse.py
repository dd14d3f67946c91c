"""Kernels that read the lines of ARPA files from blocks of bytes."""

import math

import numpy as np

from lmkit.jit import kernel

NEEDS_MORE, MARKER = 0, 1
"""All lines were read; a line that begins with a backslash was reached."""
READ = -1
"""A line was reached that has a log-probability."""
NO_NUMBER, POSITIVE, TOO_FEW, TOO_MANY, NO_WORD, UNCOUNTED = 2, 3, 4, 5, 6, 7
"""Faults of a line: see `arpa_sections`."""

ZERO = np.float32(-99)
"""SRILM's value for log 0."""
DIGITS_KEPT = 18
"""This many digits fit into 63 bits."""
POWERS = np.array([10.0**i for i in range(309)])
FACTOR = np.uint64(0x9E3779B97F4A7C15)
"""2**64 divided by the golden ratio: multiplying by it spreads bits upwards (Knuth, TAOCP 6.4)."""
INDEX_BITS = np.uint64(32)

NEWLINE, RETURN, TAB, BLANK, NUL, BACKSLASH = 10, 13, 9, 32, 0, 92
PLUS, MINUS, POINT, NOUGHT, SMALL_E = 43, 45, 46, 48, 101
INFINITY = np.frombuffer(b"infinity", np.uint8)
TO_SMALL = 32
"""Sets the bit that distinguishes lower-case from upper-case letters."""


@kernel
def is_space(byte: int) -> bool:
    return byte in (BLANK, TAB, RETURN, NUL)


@kernel
def skip_spaces(text: np.ndarray, at: int, end: int) -> int:
    while at < end and is_space(text[at]):
        at += 1
    return at


@kernel
def field_end(text: np.ndarray, at: int, end: int) -> int:
    while at < end and not is_space(text[at]):
        at += 1
    return at


@kernel
def line_end(text: np.ndarray, at: int, end: int) -> int:
    while at < end and text[at] != NEWLINE:
        at += 1
    return at


@kernel
def is_infinity(text: np.ndarray, at: int, end: int) -> bool:
    """Whether the field is "inf" or "infinity", in any case."""
    size = end - at
    i = 0
    while i < min(size, 8) and text[at + i] | TO_SMALL == INFINITY[i]:
        i += 1
    return i == size and size in (3, 8)


@kernel
def parse_number(text: np.ndarray, at: int, end: int) -> np.float32:
    """The number in a field, as float32; NaN if it is not a number or too large, -inf also for -99."""
    nothing = np.float32(math.nan)
    negative = at < end and text[at] == MINUS
    if at < end and (negative or text[at] == PLUS):
        at += 1
    if negative and is_infinity(text, at, end):
        return np.float32(-math.inf)
    digits = np.int64(0)
    kept = 0
    seen = False
    exponent = 0
    after_point = False
    while at < end:
        digit = np.int64(text[at]) - NOUGHT
        if 0 <= digit <= 9:
            seen = True
            if kept < DIGITS_KEPT:
                digits = digits * 10 + digit
                kept += digits > 0
                exponent -= after_point
            else:
                exponent += not after_point
        elif text[at] == POINT and not after_point:
            after_point = True
        else:
            break
        at += 1
    if not seen:
        return nothing
    if at < end:
        if text[at] | TO_SMALL != SMALL_E:
            return nothing
        at += 1
        sign = -1 if at < end and text[at] == MINUS else 1
        if at < end and (text[at] == MINUS or text[at] == PLUS):
            at += 1
        if at == end:
            return nothing
        power = 0
        while at < end:
            digit = np.int64(text[at]) - NOUGHT
            if not 0 <= digit <= 9:
                return nothing
            power = min(power * 10 + digit, 1 << 40)
            at += 1
        exponent += sign * power
    value = np.float64(digits)
    if exponent < 0:
        value = value / POWERS[-exponent] if -exponent < len(POWERS) else 0.0
    elif exponent > 0 and digits > 0:
        value = value * POWERS[exponent] if exponent < len(POWERS) else math.inf
    result = np.float32(-value if negative else value)
    if math.isinf(result):
        return nothing
    return np.float32(-math.inf) if result == ZERO else result


@kernel
def hash_bytes(text: np.ndarray, at: int, end: int, seed: np.uint64) -> np.uint64:
    """64 bits that differ for most words; seed: prevents crafted files whose words all collide."""
    found = seed
    for i in range(at, end):
        found = (found ^ np.uint64(text[i])) * FACTOR
        found ^= found >> np.uint64(29)
    return found


@kernel
def same_bytes(text: np.ndarray, at: int, pool: np.ndarray, first: int, size: int) -> bool:
    i = 0
    while i < size and text[at + i] == pool[first + i]:
        i += 1
    return i == size


@kernel
def find_word(
    text: np.ndarray,
    at: int,
    end: int,
    pool: np.ndarray,
    starts: np.ndarray,
    slots: np.ndarray,
    seed: np.uint64,
) -> tuple[int, int]:
    """The word in a field, or -1; and the slot where it is or would be.

    slots: the upper half of the word's hash and the word + 1, or 0. Their number is a power of two.
    """
    found = hash_bytes(text, at, end, seed)
    mask = len(slots) - 1
    slot = int(np.int64(found >> INDEX_BITS) & mask)
    tag = found & np.uint64(0xFFFFFFFF)
    while slots[slot] != 0:
        if slots[slot] >> INDEX_BITS == tag:
            word = int(np.int64(slots[slot] & np.uint64(0xFFFFFFFF))) - 1
            size = starts[word + 1] - starts[word]
            if size == end - at and same_bytes(text, at, pool, starts[word], size):
                return word, slot
        slot = (slot + 1) & mask
    return -1, slot


@kernel
def index_words(pool: np.ndarray, starts: np.ndarray, slots: np.ndarray, seed: np.uint64) -> int:
    """Put all words into empty slots; return the first duplicate, or -1."""
    for word in range(len(starts) - 1):
        found, slot = find_word(pool, starts[word], starts[word + 1], pool, starts, slots, seed)
        if found >= 0:
            return word
        tag = hash_bytes(pool, starts[word], starts[word + 1], seed) & np.uint64(0xFFFFFFFF)
        slots[slot] = (tag << INDEX_BITS) | np.uint64(word + 1)
    return -1


@kernel
def parse_unigrams(
    text: np.ndarray,
    place: np.ndarray,
    end: int,
    with_backoffs: bool,
    most: int,
    spans: np.ndarray,
    lines: np.ndarray,
    log_probs: np.ndarray,
    backoffs: np.ndarray,
) -> tuple[int, int]:
    """Read at most `most` lines `log-probability word [backoff]` up to `end`; return their number, and the outcome.

    place: (2,) int64, the start and the number of lines before it; updated, to the faulty line if there is one.
    spans: (rows, 2), the place of each word in the text; lines: the number of its line.
    """
    at, row = place[0], 0
    while True:
        at, last, found = parse_head(text, place, at, end, row, most, log_probs)
        if found != READ:
            return row, found
        at = skip_spaces(text, at, last)
        if at == last:
            return row, TOO_FEW
        spans[row, 0] = at
        at = field_end(text, at, last)
        spans[row, 1] = at
        lines[row] = place[1]
        fault = check_end(text, at, last, row, with_backoffs, backoffs)
        if fault:
            return row, fault
        row += 1
        at = last + 1


@kernel
def parse_ngrams(
    text: np.ndarray,
    place: np.ndarray,
    end: int,
    with_backoffs: bool,
    most: int,
    pool: np.ndarray,
    starts: np.ndarray,
    slots: np.ndarray,
    seed: np.uint64,
    rows: np.ndarray,
    log_probs: np.ndarray,
    backoffs: np.ndarray,
) -> tuple[int, int]:
    """Read lines of n-grams as `parse_unigrams` does; rows: (rows, order), the words by number in the pool."""
    at, row = place[0], 0
    order = rows.shape[1]
    while True:
        at, last, found = parse_head(text, place, at, end, row, most, log_probs)
        if found != READ:
            return row, found
        for i in range(order):
            at = skip_spaces(text, at, last)
            if at == last:
                return row, TOO_FEW
            stop = field_end(text, at, last)
            word, _ = find_word(text, at, stop, pool, starts, slots, seed)
            if word < 0:
                place[0] = at  # the word, for the message
                return row, NO_WORD
            rows[row, i] = word
            at = stop
        fault = check_end(text, at, last, row, with_backoffs, backoffs)
        if fault:
            return row, fault
        row += 1
        at = last + 1


@kernel
def parse_head(
    text: np.ndarray, place: np.ndarray, at: int, end: int, row: int, most: int, log_probs: np.ndarray
) -> tuple[int, int, int]:
    """Read the log-probability on the next non-blank line: its end, the line's end, the outcome."""
    while at < end:
        place[0] = at
        last = line_end(text, at, end)
        at = skip_spaces(text, at, last)
        if at < last and text[at] == BACKSLASH:
            return at, last, MARKER
        place[1] += 1
        if at < last:
            if row == most:
                return at, last, UNCOUNTED
            stop = field_end(text, at, last)
            number = parse_number(text, at, stop)
            if math.isnan(number):
                return at, last, NO_NUMBER
            if number > 0:
                return at, last, POSITIVE
            log_probs[row] = number
            return stop, last, READ
        at = last + 1
    place[0] = end
    return at, end, NEEDS_MORE


@kernel
def check_end(
    text: np.ndarray,
    at: int,
    last: int,
    row: int,
    with_backoffs: bool,
    backoffs: np.ndarray,
) -> int:
    """Read the rest of a line after its words, a backoff or nothing (log 1); return the fault, or 0.

    with_backoffs: not of the highest order, where backoffs are useless but some programs write them.
    """
    at = skip_spaces(text, at, last)
    backoff = np.float32(0)
    if at < last:
        stop = field_end(text, at, last)
        backoff = parse_number(text, at, stop)
        if skip_spaces(text, stop, last) < last:
            return TOO_MANY
        if math.isnan(backoff):
            return NO_NUMBER if with_backoffs else TOO_MANY
    backoffs[row] = backoff
    return 0
