"""The kernels of quantized models: the odds of contexts, bits for the numbers of followers, and the way back.

The arrays of a file are not trusted: `read_followers` and `restore` return DAMAGED instead of leaving a table's arrays.
"""

import math

import numpy as np

from lmkit.jit import kernel
from lmkit_ngram.queries import DAMAGED, SOUND, first_from
from lmkit_ngram.smoothing_kernels import unseen_mass


@kernel
def odds_of_rest(
    children: np.ndarray,
    suffixes: np.ndarray,
    words: np.ndarray,
    vocab_size: int,
    log_probs: np.ndarray,
    probs: np.ndarray,
    weights: np.ndarray,
    odds: np.ndarray,
    first: int,
) -> None:
    """odds[i] = log10 of the probability of all other words, relative to that of the followers, after first + i.

    -inf for a context without followers. probs, weights: (contexts,) float32, not logarithms.
    """
    for i in range(len(odds)):
        context = first + i
        begin = children[context]
        end = children[context + 1]
        odds[i] = -np.inf
        if begin == end:
            continue
        own = 0.0
        for child in range(begin, end):
            own += math.pow(10.0, log_probs[child])
        rest = weights[context] * unseen_mass(children, suffixes, words, vocab_size, probs, weights, context)
        if rest > 0 and own > 0:
            odds[i] = math.log10(rest / own)


@kernel
def write_followers(children: np.ndarray, bits: np.ndarray, first: int, last: int) -> None:
    """Append for each context first .. last - 1 a one for each follower, and a zero, to bits that are zero."""
    for context in range(first, last):
        for child in range(children[context], children[context + 1]):
            place = child - children[0] + context
            bits[place >> 3] |= np.uint8(1 << (place & 7))


@kernel
def read_followers(bits: np.ndarray, children: np.ndarray, total: int) -> int:
    """SOUND, with `children` from the bits of `write_followers`, or DAMAGED.

    children: (contexts + 1,), the first filled in. total: the last.
    """
    child = np.int64(children[0])
    context = 0
    contexts = len(children) - 1
    for i in range(8 * len(bits)):
        if bits[i >> 3] >> (i & 7) & 1:
            if child == total or context == contexts:
                return DAMAGED
            child += 1
        elif context < contexts:
            context += 1
            children[context] = child
    return SOUND if context == contexts and child == total else DAMAGED


@kernel
def restore(
    children: np.ndarray,
    suffixes: np.ndarray,
    words: np.ndarray,
    vocab_size: int,
    codes: np.ndarray,
    odds_codes: np.ndarray,
    levels: np.ndarray,
    probs: np.ndarray,
    weights: np.ndarray,
    log_probs: np.ndarray,
    backoffs: np.ndarray,
    first: int,
    last: int,
) -> int:
    """SOUND, with the suffixes and probabilities of the followers of contexts first .. last - 1, or DAMAGED.

    The followers share 1 / (1 + odds) in proportion to the probabilities of their codes; the backoff distributes the
    rest, so each distribution sums to one. Shorter contexts must be finished, with `probs` and `weights`.

    codes: (n-grams of two and more words,). odds_codes: (contexts,). levels: (2, 256) float64, log10 of the
    probabilities and of the odds. probs, weights: (contexts,) float32, not logarithms.
    """
    values = np.power(10.0, levels[0])
    for context in range(first, last):
        begin = children[context]
        end = children[context + 1]
        weights[context], backoffs[context] = 1, 0
        if begin == end:
            continue
        shorter = suffixes[context]
        other = np.int64(0)
        others_end = np.int64(vocab_size)
        if shorter >= 0:
            other = np.int64(children[shorter])
            others_end = np.int64(children[shorter + 1])
        before = -1
        total = 0.0
        for child in range(begin, end):
            word = words[child]
            if word <= before or word >= vocab_size:
                return DAMAGED
            before = word
            if shorter < 0:
                other = np.int64(word)
            else:
                other = first_from(words, other, others_end, word)
                if other == others_end or words[other] != word:
                    return DAMAGED
            suffixes[child] = other
            total += values[codes[child - vocab_size - 1]]
        odds = math.pow(10.0, levels[1, odds_codes[context]])
        unseen = unseen_mass(children, suffixes, words, vocab_size, probs, weights, context)
        left = odds / (1 + odds)
        if unseen <= 0:
            left = 0.0  # no other word is possible
        elif total == 0:
            left = 1.0
        if unseen > 0:
            weights[context] = left / unseen
            backoffs[context] = math.log10(left / unseen)
        share = (1 - left) / total if total > 0 else 0.0
        log_share = math.log10(share)
        for child in range(begin, end):
            code = codes[child - vocab_size - 1]
            log_probs[child] = min(levels[0, code] + log_share, 0.0)
            if child < len(probs):
                probs[child] = min(values[code] * share, 1.0)
    return SOUND
