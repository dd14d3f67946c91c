"""Store the n-grams of a model in few bytes: probabilities of 8 bits, and links that follow from the words.

Four decisions:

- A code of 8 bits is one of 255 logarithms at equal distances, from the lowest to the highest of its order; code 0 is a
  probability of zero. Single words keep their float32.
- Probabilities of 8 bits do not sum to one. So a context has a second code, for the odds of all words that do not
  follow it; its followers share what these leave. Odds keep their precision however little is left to either side.
- Backoff weights are not stored but computed from the restored probabilities, as are the links to suffixes.
- The number of followers of a context is that many ones, then a zero: about 1.7 bits an n-gram.
"""

import math
from dataclasses import dataclass
from functools import partial

import numpy as np

from lmkit.errors import ModelError
from lmkit.mapped import let_go
from lmkit_ngram.count import in_memory
from lmkit_ngram.quantize_kernels import odds_of_rest, read_followers, restore, write_followers
from lmkit_ngram.queries import SOUND, read_only
from lmkit_ngram.table import Allocate, NgramTable
from lmkit_ngram.threads import batched, pieces, side_by_side

LEVELS = 256
"""Of 8 bits: zero, and 255 numbers."""
WIDEST = 12.0
"""Maximum distance of the lowest level from the highest, in log10; lower values, of no count, are raised to it."""
MOST_LOG10 = 40
"""The largest absolute value of a level, and more than what float32 numbers can give."""
SEGMENT = 1 << 20
"""N-grams or contexts to process before the memory of mapped arrays is released."""


@dataclass(frozen=True)
class Packed:
    """A quantized table.

    unigrams: (words + 1,) float32, log10 p, with `<s>` last. words: the last words of longer n-grams, in the smallest
    type that has room. codes: uint8, of their log10 p. odds: (contexts,) uint8, codes of `odds_of_rest`.
    followers: uint8, the bits of `write_followers`. ranges: (4 * (order - 1),) float32, for each order above the first,
    the lowest and the highest log10 p of its n-grams, then of the odds of their contexts.
    """

    offsets: np.ndarray
    unigrams: np.ndarray
    words: np.ndarray
    codes: np.ndarray
    odds: np.ndarray
    followers: np.ndarray
    ranges: np.ndarray

    def levels(self, order: int) -> np.ndarray:
        """(2, LEVELS) float64: the log10 p of n-grams of an order by code, and the log10 of the odds of contexts."""
        ranges = self.ranges.reshape(-1, 2, 2)[order - 2].astype(np.float64)
        return np.stack([[-np.inf, *np.linspace(low, high, LEVELS - 1)] for low, high in ranges])


def packed_layout(offsets: np.ndarray) -> dict[str, tuple[type[np.generic], int]]:
    """The types and lengths of the arrays of a Packed, in the order in which they are saved."""
    order, unigrams, contexts, total = len(offsets) - 1, *(int(offsets[i]) for i in (1, -2, -1))
    return {
        "unigrams": (np.float32, unigrams),
        "words": (np.min_scalar_type(max(unigrams - 2, 0)).type, total - unigrams),
        "codes": (np.uint8, total - unigrams),
        "odds": (np.uint8, contexts),
        "followers": (np.uint8, (total - unigrams + contexts + 7) // 8),
        "ranges": (np.float32, 4 * (order - 1)),
    }


def pack(table: NgramTable, allocate: Allocate = in_memory) -> Packed:
    """Quantize a table of probabilities, which is not modified.

    allocate: creates arrays, also temporary ones. Raises ModelError for a table with an n-gram whose suffix is not one.
    """
    _check_suffixes(table)
    start, contexts = int(table.offsets[1]), table.contexts
    arrays = {
        name: allocate(f"packed-{name}", length, dtype)
        for name, (dtype, length) in packed_layout(table.offsets).items()
    }
    packed = Packed(table.offsets, **arrays)
    packed.unigrams[:] = _normalized(table.log_probs[:start])
    packed.followers[:] = 0
    for first, last in pieces(0, contexts, SEGMENT):
        write_followers(table.children, packed.followers, first, last)
        let_go(table.children, packed.followers)
    for first, last in pieces(start, table.total, SEGMENT):
        packed.words[first - start : last - start] = table.words[first:last]
        let_go(table.words, packed.words)
    probs, weights = _linear(table, allocate)
    odds = allocate("packed-exact-odds", contexts, np.float32)
    for first, last in pieces(0, contexts, SEGMENT):
        odds_of_rest(
            table.children, table.suffixes, table.words, table.vocab_size, table.log_probs, probs, weights,
            odds[first:last], first,
        )  # fmt: skip
        let_go(table.children, table.suffixes, table.words, table.log_probs, probs, weights, odds)
    ranges = packed.ranges.reshape(-1, 2, 2)
    for k in range(1, table.order):
        below, first, last = map(int, table.offsets[k - 1 : k + 2])
        ranges[k - 1, 0] = _encode(table.log_probs[first:last], packed.codes[first - start : last - start])
        ranges[k - 1, 1] = _encode(odds[below:first], packed.odds[below:first])
    return packed


def _check_suffixes(table: NgramTable) -> None:
    """In a file of another program, an n-gram may lack the one without its first word."""
    for k in range(2, table.order + 1):
        for first, last in pieces(int(table.offsets[k - 1]), int(table.offsets[k]), SEGMENT):
            if table.suffixes[first:last].min() < table.offsets[k - 2]:
                raise ModelError(
                    f"an n-gram of {k} words lacks the one without its first word, so it cannot be quantized: leave "
                    "out --quantize"
                )
            let_go(table.suffixes)


def _normalized(log_probs: np.ndarray) -> np.ndarray:
    """Unigrams that sum to one without `<s>`, the last: those of a file have few digits."""
    total = np.power(10.0, log_probs[:-1], dtype=np.float64).sum()
    scaled = log_probs.copy()
    scaled[:-1] = np.minimum(log_probs[:-1] - np.log10(total), 0)
    return scaled


def _linear(table: NgramTable, allocate: Allocate) -> tuple[np.ndarray, np.ndarray]:
    """(contexts,) float32 each: probabilities and backoff weights that are not logarithms."""
    probs, weights = (allocate(f"packed-{name}", table.contexts, np.float32) for name in ("probs", "weights"))
    for first, last in pieces(0, table.contexts, SEGMENT):
        np.power(np.float32(10), table.log_probs[first:last], out=probs[first:last])
        np.power(np.float32(10), table.backoffs[first:last], out=weights[first:last])
        let_go(table.log_probs, table.backoffs, probs, weights)
    return probs, weights


def _encode(values: np.ndarray, codes: np.ndarray) -> tuple[float, float]:
    """Fill in the code of each logarithm; return the lowest and the highest level."""
    low, high = math.inf, -math.inf
    for first, last in pieces(0, len(values), SEGMENT):
        finite = values[first:last][np.isfinite(values[first:last])]
        low, high = finite.min(initial=low), finite.max(initial=high)
    if low > high:
        low = high = 0.0
    low = max(low, high - WIDEST)
    scale = (LEVELS - 2) / (high - low) if high > low else 0.0
    for first, last in pieces(0, len(values), SEGMENT):
        steps = np.rint((np.maximum(values[first:last], low) - low) * scale)
        codes[first:last] = np.where(np.isneginf(values[first:last]), 0, steps + 1)
        let_go(values, codes)
    return low, high


def unpack(packed: Packed, allocate: Allocate = in_memory, threads: int = 1) -> NgramTable:
    """The table of quantized n-grams, whose distributions sum to one.

    allocate: creates its arrays, and temporary ones. Raises ModelError for damaged n-grams.
    """
    offsets = packed.offsets
    start, contexts, total = int(offsets[1]), int(offsets[-2]), int(offsets[-1])
    table = NgramTable.allocated(start - 1, offsets, allocate)
    for first, last in pieces(start, total, SEGMENT):
        table.words[first:last] = packed.words[first - start : last - start]
        let_go(table.words, packed.words)
    probs, weights = (allocate(f"packed-{name}", contexts, np.float32) for name in ("probs", "weights"))
    table.log_probs[:start] = packed.unigrams
    probs[:start] = np.power(np.float32(10), packed.unigrams[:contexts])  # none are contexts in order 1
    table.children[0] = start
    codes, odds, followers = map(read_only, (packed.codes, packed.odds, packed.followers))
    if read_followers(followers, table.children, total) != SOUND or any(
        table.children[offsets[k - 1]] != offsets[k] for k in range(1, table.order)
    ):
        raise ModelError("the numbers of followers do not add up")

    def work(levels: np.ndarray, first: int, last: int) -> int:
        return restore(
            table.children, table.suffixes, table.words, table.vocab_size, codes, odds,
            levels, probs, weights, table.log_probs, table.backoffs, first, last,
        )  # fmt: skip

    for k in range(1, table.order):
        levels = packed.levels(k + 1)
        spans = pieces(int(offsets[k - 1]), int(offsets[k]), SEGMENT // threads)
        for group in batched(spans, threads):
            results = side_by_side((partial(work, levels, *span) for span in group), threads)
            if any(result != SOUND for result in results):
                raise ModelError("a word is out of order, or an n-gram lacks the one without its first word")
            let_go(
                table.words, table.suffixes, table.children, table.log_probs, table.backoffs, probs, weights
            )
    return table
