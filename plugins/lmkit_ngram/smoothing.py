"""Compute the log-probabilities and backoff weights of n-grams from their counts, for every smoothing method."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import numpy as np

from lmkit.mapped import let_go
from lmkit_ngram import smoothing_kernels as discounting
from lmkit_ngram import stupid_backoff
from lmkit_ngram.count import Counted, in_memory
from lmkit_ngram.logarithm import to_log10
from lmkit_ngram.options import NgramOptions
from lmkit_ngram.prune import drop_rare, thresholds
from lmkit_ngram.table import Allocate, NgramTable
from lmkit_ngram.threads import batched, parts, side_by_side

log = logging.getLogger(__name__)

KNESER_NEY = ("modified-kneser-ney", "kneser-ney")
MIXED = (*KNESER_NEY, "witten-bell")
"""The methods that mix each distribution with the one of the shorter context, down to the uniform one."""
FALLBACK = {"modified-kneser-ney": (0.5, 1.0, 1.5), "kneser-ney": (0.75, 0.75, 0.75)}
"""Default discounts by count: lmplz's --discount_fallback, and the usual absolute discount."""
SEGMENT = 1 << 22
"""Contexts to process before the memory of mapped arrays is released."""


def counts_needed(smoothing: str) -> bool:
    """Whether a method needs adjusted (continuation) counts; else raw ones."""
    return smoothing in KNESER_NEY


def estimate(
    counted: Counted, options: NgramOptions, threads: int = 1, allocate: Allocate = in_memory
) -> None:
    """Fill in `counted.table.log_probs`, over the counts, and `.backoffs`.

    With `options.prune`, counted.table is first replaced by a smaller one, whose arrays `allocate` creates while those
    of the old table are still in use. All methods end in unigrams over a vocabulary of |V| words, with `</s>` and the
    unknown word but without `<s>`, which has log-probability 0, as in ARPA files.

    - modified-kneser-ney (Chen and Goodman 1998), interpolated, with the numbers of KenLM's lmplz;
    - kneser-ney: one discount per order (Kneser and Ney 1995), interpolated; without `options.interpolate`, the
      shorter context is used only for unseen words, normalised. Unigrams are mixed with 1/|V| in both;
    - witten-bell (Witten and Bell 1991, method C), interpolated, unigrams mixed with 1/|V|;
    - add-k: (c(hw) + k) / (c(h) + k|V|), where h is the whole context of order - 1 words, or less after `<s>`;
      1/|V| after an unseen context;
    - mle: c(hw) / c(h), and 0 for words that never followed a seen context; after an unseen context, as after its
      longest seen suffix;
    - stupid-backoff (Brants et al. 2007): c(hw) / c(h), else alpha times the score after the shorter context,
      even if the longer one was never seen: `stupid_backoff.scale` describes the table for this. Scores do not sum
      to one; words that never occur score 0 (-inf).

    Raises UsageError for a bad --prune.
    """
    limits = thresholds(options)
    discounts = _discounts(counted, options)
    pruned = drop_rare(counted, limits, allocate) if any(limits) else np.empty(0, np.int32)
    mixed = options.smoothing in MIXED
    if mixed:
        vocab_size = counted.table.vocab_size
        counted.table.log_probs[: vocab_size + 1] = mixed_unigrams(
            counted.counts[:vocab_size], discounts[0], options.smoothing
        )
    else:
        _plain_unigrams(counted, options)
    if mixed and (options.interpolate or options.smoothing != "kneser-ney"):
        _interpolate(counted, pruned, discounts, options, threads)
    else:
        _back_off(counted, pruned, discounts, options, threads)
    for array in (counted.table.log_probs, counted.table.backoffs):
        slices = parts(0, len(array), _segments(len(array), threads))
        side_by_side((partial(_to_log10, array, *part) for part in slices), threads)
    if options.smoothing == "stupid-backoff":
        stupid_backoff.scale(counted.table, options.alpha)


def _to_log10(array: np.ndarray, first: int, last: int) -> None:
    to_log10(array[first:last])
    let_go(array)


def _discounts(counted: Counted, options: NgramOptions) -> np.ndarray:
    """The discounts of counted n-grams (`discounts_from`)."""
    bounds = list(pairwise(map(int, counted.table.offsets)))
    needed = counts_needed(options.smoothing)
    seen = [discounting.counts_of_counts(counted.counts, *bound) if needed else () for bound in bounds]
    present = [needed and bool(counted.counts[first:last].any()) for first, last in bounds]
    return discounts_from(seen, present, options.smoothing)


def discounts_from(seen: Sequence[tuple[int, ...]], present: Sequence[bool], smoothing: str) -> np.ndarray:
    """(order, 4) float32: the discount of an n-gram of each order, by count, the last for 3 and more.

    seen: for each order, the numbers of n-grams with counts of one to four. present: whether an order has n-grams.
    """
    discounts = np.zeros((len(seen), 4), np.float32)
    if smoothing not in KNESER_NEY:
        return discounts
    reasons = []
    for order, (numbers, exists) in enumerate(zip(seen, present, strict=True), 1):
        found = (
            _modified_discounts(numbers) if smoothing == "modified-kneser-ney" else _single_discount(numbers)
        )
        if isinstance(found, str):
            if exists:
                reasons.append(f"order {order}: {found}")
            found = FALLBACK[smoothing]
        discounts[order - 1, 1:] = found
    if reasons:
        fallback = " / ".join(f"{value:g}" for value in dict.fromkeys(FALLBACK[smoothing]))
        log.warning(
            "the text is too small or too regular to estimate Kneser-Ney discounts; using the defaults %s (%s)",
            fallback, "; ".join(reasons),
        )  # fmt: skip
    return discounts


def _modified_discounts(seen: tuple[int, ...]) -> list[np.float32] | str:
    """D1, D2, D3+ from the numbers of n-grams with counts of one to four (Chen and Goodman 1998, equation 26).

    In float32, like lmplz; or the reason why they do not exist.
    """
    if missing := [str(count) for count in (1, 2, 3) if not seen[count - 1]]:
        return f"no n-gram has a count of {' or '.join(missing)}"
    y = np.float32(seen[0]) / np.float32(seen[0] + 2.0 * seen[1])
    found = []
    for count in (1, 2, 3):
        ratio = np.float32(count + 1) * y * np.float32(seen[count]) / np.float32(seen[count - 1])
        found.append(np.float32(count) - ratio)
        if not 0 <= found[-1] <= count:
            return f"the discount of a count of {count} would be {found[-1]:.3g}"
    return found


def _single_discount(seen: tuple[int, ...]) -> np.float32 | str:
    """n1 / (n1 + 2 n2) (Kneser and Ney 1995; Ney, Essen and Kneser 1994), or the reason why it is not usable."""
    if missing := [str(count) for count in (1, 2) if not seen[count - 1]]:
        return f"no n-gram has a count of {' or '.join(missing)}"
    return np.float32(seen[0] / (seen[0] + 2 * seen[1]))


def mixed_unigrams(counts: np.ndarray, discounts: np.ndarray, smoothing: str) -> np.ndarray:
    """(words + 1,) float32: unigrams mixed with the uniform distribution, and 1 for `<s>`.

    Computed as longer ones in `smoothing_kernels.interpolate`. counts: (words,); discounts: (4,) of the unigrams.
    """
    classes = np.minimum(counts, 3)
    sizes = np.bincount(classes, minlength=4)
    followers = np.float32(sizes[1:].sum() if smoothing == "witten-bell" else 0)
    mass = np.float32(counts.sum(dtype=np.int64)) + followers
    gamma = np.float32(0)
    for count in (1, 2, 3):
        gamma += discounts[count] * np.float32(sizes[count])
    gamma = (gamma + followers) / mass
    own = (counts.astype(np.float32) - discounts[classes]) / mass
    probs = np.ones(len(counts) + 1, np.float32)
    probs[:-1] = np.minimum(own + gamma * (np.float32(1) / np.float32(len(counts))), np.float32(1))
    return probs


def _plain_unigrams(counted: Counted, options: NgramOptions) -> None:
    """Unigrams of maximum likelihood, or with k added to each count."""
    vocab_size = counted.table.vocab_size
    counts = counted.counts[:vocab_size].astype(np.float64)
    k = options.k if options.smoothing == "add-k" else 0.0
    probs = counted.table.log_probs
    probs[:vocab_size] = (counts + k) / (counts.sum() + k * vocab_size)
    probs[vocab_size] = 1


def _interpolate(
    counted: Counted, pruned: np.ndarray, discounts: np.ndarray, options: NgramOptions, threads: int
) -> None:
    table = counted.table
    follower_weight = np.float32(options.smoothing == "witten-bell")

    def work(order: int, first: int, last: int) -> None:
        discounting.interpolate(
            table.children, table.suffixes, counted.counts, pruned, discounts[order - 1], follower_weight,
            table.log_probs, table.backoffs, first, last,
        )  # fmt: skip

    _each_order(table, [0, 0, *table.offsets.tolist()], work, threads)


def _back_off(
    counted: Counted, pruned: np.ndarray, discounts: np.ndarray, options: NgramOptions, threads: int
) -> None:
    table = counted.table
    firsts = [0, 0, *table.offsets.tolist()]
    k = 0.0
    if options.smoothing == "add-k":
        k = options.k
        firsts = _uniform_below(table)
    unnormalized = options.smoothing == "stupid-backoff"

    def work(order: int, first: int, last: int) -> None:
        discounting.back_off(
            table.children, table.suffixes, table.words, counted.counts, pruned,
            float(discounts[order - 1, 1]) - k, k * table.vocab_size, unnormalized, table.vocab_size,
            table.log_probs, table.backoffs, first, last,
        )  # fmt: skip

    _each_order(table, firsts, work, threads)


def _uniform_below(table: NgramTable) -> list[int]:
    """Make the distributions after incomplete contexts uniform; return the first complete context of each order.

    Complete are those of order - 1 words, and shorter ones that begin with `<s>`, which are last in their order.
    """
    uniform = 1 / table.vocab_size
    firsts = [0, 0]
    context = table.start
    for order in range(2, table.order):
        # Contexts have order - 1 words here; n-grams that begin with `<s>` are last.
        firsts.append(context)
        table.backoffs[table.offsets[order - 2] : context] = 1
        following = int(table.children[context])
        table.log_probs[table.offsets[order - 1] : following] = uniform
        context = following
    if table.order > 1:
        table.log_probs[: table.start] = uniform
    return [*firsts, int(table.offsets[table.order - 2])]


def _each_order(
    table: NgramTable, firsts: list[int], work: Callable[[int, int, int], None], threads: int
) -> None:
    """work(order, first, last) for contexts of order - 1 words from firsts[order] on, the shortest first."""
    for order in range(2, table.order + 1):
        first, last = firsts[order], int(table.offsets[order - 1])
        for spans in batched(parts(first, last, _segments(last - first, threads)), threads):
            side_by_side((partial(work, order, *span) for span in spans), threads)
            # Not within a part, since it affects the pages of all threads.
            let_go(table.words, table.suffixes, table.children, table.log_probs, table.backoffs)


def _segments(length: int, threads: int) -> int:
    return max(threads, -(-length // SEGMENT))
