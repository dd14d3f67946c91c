"""The kernels of all smoothing methods: from counts to probabilities, context by context.

Their numbers are not logarithms yet. counts and probs share memory: each count is read before the probability of
its n-gram is written. The n-grams of one order are finished before those of the next.
"""

import numpy as np

from lmkit.jit import kernel
from lmkit_ngram.intrinsics import prefetch

AHEAD = 40
"""Number of n-grams to prefetch the probability of a suffix ahead."""
NEARLY_ALL = 1e-3
"""If followers leave less of the shorter context's mass than this, the rest is summed term by term, since the
difference between one and a sum of float32 numbers would have few correct digits."""


@kernel
def counts_of_counts(counts: np.ndarray, first: int, last: int) -> tuple[int, int, int, int]:
    """The numbers of 1, 2, 3 and 4 in counts[first:last]."""
    ones = twos = threes = fours = 0
    for i in range(first, last):
        count = counts[i]
        ones += count == 1
        twos += count == 2
        threes += count == 3
        fours += count == 4
    return ones, twos, threes, fours


@kernel
def interpolate(
    children: np.ndarray,
    suffixes: np.ndarray,
    counts: np.ndarray,
    pruned: np.ndarray,
    discounts: np.ndarray,
    follower_weight: np.float32,
    probs: np.ndarray,
    backoffs: np.ndarray,
    first: int,
    last: int,
) -> None:
    """Probabilities after the contexts first .. last - 1, mixed with those of the context one word shorter.

    p(w|h) = (a - D(a)) / A + gamma(h) p(w|h'), where the a are the counts of the T followers of h, and
    A = sum a + pruned + follower_weight T.
    gamma(h) = (D1 N1 + D2 N2 + D3 N3+ + pruned + follower_weight T) / A, where N1, N2, N3+ count followers by a.
    All in float32 and in KenLM's order of operations, to give the numbers of lmplz.

    discounts: (4,) float32, D by count, the last for 3 and more. pruned: (contexts,) int32, the sum of the counts of
    dropped followers; empty without pruning.
    """
    one = np.float32(1)
    for context in range(first, last):
        begin = children[context]
        end = children[context + 1]
        if begin + AHEAD < len(suffixes):
            prefetch(probs, int(suffixes[begin + AHEAD]))
        lost = pruned[context] if len(pruned) else 0
        followers = follower_weight * np.float32(end - begin)
        extra = np.float32(lost) + followers
        if end - begin == 1:
            # Most contexts have one follower, and two loops for one n-gram take twice the time.
            count = counts[begin]
            discount = discounts[min(count, 3)]
            mass = np.float32(count + lost) + followers
            gamma = (discount + extra) / mass
            backoffs[context] = gamma
            own = (np.float32(count) - discount) / mass
            probs[begin] = min(own + gamma * probs[suffixes[begin]], one)
            continue
        if begin == end:
            backoffs[context] = 1
            continue
        total = lost
        ones = twos = more = 0
        for child in range(begin, end):
            count = counts[child]
            total += count
            ones += count == 1
            twos += count == 2
            more += count >= 3
        mass = np.float32(total) + followers
        gamma = discounts[1] * np.float32(ones)
        gamma += discounts[2] * np.float32(twos)
        gamma += discounts[3] * np.float32(more)
        gamma = (gamma + extra) / mass
        backoffs[context] = gamma
        for child in range(begin, end):
            count = counts[child]
            own = (np.float32(count) - discounts[min(count, 3)]) / mass
            probs[child] = min(own + gamma * probs[suffixes[child]], one)


@kernel
def back_off(
    children: np.ndarray,
    suffixes: np.ndarray,
    words: np.ndarray,
    counts: np.ndarray,
    pruned: np.ndarray,
    discount: float,
    added: float,
    unnormalized: bool,
    vocab_size: int,
    probs: np.ndarray,
    backoffs: np.ndarray,
    first: int,
    last: int,
) -> None:
    """Probabilities after the contexts first .. last - 1, from a shorter context only for unseen words.

    p(w|h) = (c - discount) / (sum c + pruned + added). The rest is distributed to the other words like the shorter
    context (Katz 1987): alpha(h) = left / (1 - sum of p(w|h') over the followers of h); if no other word is
    possible, the followers share it. unnormalized: alpha(h) is 1 in any case.

    pruned: as for `interpolate`.
    """
    for context in range(first, last):
        begin = children[context]
        end = children[context + 1]
        if begin == end:
            backoffs[context] = 1
            continue
        lost = pruned[context] if len(pruned) else 0
        total = lost
        for child in range(begin, end):
            total += counts[child]
        mass = total + added
        left = (added + discount * (end - begin) + lost) / mass
        weight = 1.0 if unnormalized else 0.0
        if not unnormalized and left > 0:
            unseen = unseen_mass(children, suffixes, words, vocab_size, probs, backoffs, context)
            if unseen > 0:
                weight = left / unseen
            else:
                weight = 1.0
                mass *= 1 - left
        backoffs[context] = weight
        for child in range(begin, end):
            probs[child] = min(np.float32((counts[child] - discount) / mass), np.float32(1))


@kernel
def unseen_mass(
    children: np.ndarray,
    suffixes: np.ndarray,
    words: np.ndarray,
    vocab_size: int,
    probs: np.ndarray,
    backoffs: np.ndarray,
    context: int,
) -> float:
    """The mass that the distribution of the shorter context gives to words that do not follow the context.

    Shorter contexts must have their backoffs; the context's own, and the probabilities of its children, are not
    read.
    """
    total = 0.0
    share = 1.0
    while True:
        begin = children[context]
        end = children[context + 1]
        rest = 1.0
        for child in range(begin, end):
            rest -= probs[suffixes[child]]
        if rest > NEARLY_ALL:
            return float(total + share * rest)
        # All followers of a context also follow the shorter one, so others are only there; the rest is the
        # shorter context's own unseen mass.
        shorter = suffixes[context]
        other = np.int64(0)
        others_end = np.int64(vocab_size)
        if shorter >= 0:
            other = np.int64(children[shorter])
            others_end = np.int64(children[shorter + 1])
        rest = 0.0
        for child in range(begin, end):
            while other < others_end and words[other] != words[child]:
                rest += probs[other]
                other += 1
            other += 1
        while other < others_end:
            rest += probs[other]
            other += 1
        total += share * rest
        if shorter < 0:
            return float(total)
        share *= backoffs[shorter]
        context = shorter
