"""Count the n-grams of every order of a text in one pass over its sorted positions."""

from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from lmkit.errors import DataError
from lmkit.mapped import let_go, use_large_pages
from lmkit.specs import MOST_IDS
from lmkit_ngram import count_kernels, suffix_sort
from lmkit_ngram.table import Allocate, NgramTable, TextIndex
from lmkit_ngram.threads import batched, parts, side_by_side

SEGMENTS = 64
"""The first words of the text are processed in this many parts, each of which frees its memory at its end."""


@dataclass
class Counted:
    """The n-grams of a text.

    counts: (total,) int32, in the same memory as `table.log_probs`: adjusted counts (Kneser and Ney), or raw ones.
    raw: (total,) int32, the raw counts of all orders, on request.
    index: the text and its sorted positions, on request.
    """

    table: NgramTable
    counts: np.ndarray
    raw: np.ndarray | None
    index: TextIndex | None


def in_memory(name: str, length: int, dtype: type[np.generic]) -> np.ndarray:
    return np.empty(length, dtype)


def count_ngrams(
    tokens: np.ndarray,
    num_lines: int,
    vocab_size: int,
    eos_id: int,
    order: int,
    *,
    continuation: bool,
    with_raw: bool = False,
    with_index: bool = True,
    threads: int = 1,
    allocate: Allocate = in_memory,
) -> Counted:
    """The n-grams of up to `order` words in a text, with their counts.

    tokens: (num_tokens,) ids, including the `</s>` of each line. continuation: adjusted counts for the lower orders,
    which are the numbers of distinct words before an n-gram (raw after `<s>`); else raw counts everywhere.
    threads: number of parts processed at once. Raises DataError when the text is too long for int32.
    """
    text, positions, starts, segments, spans = sort_text(
        tokens, num_lines, vocab_size, eos_id, order, threads=threads
    )
    next_slots = np.empty(len(positions), np.int32)
    before = np.zeros(len(positions), np.uint16)
    count_kernels.link(text, positions, starts, spans, eos_id, next_slots, before)
    marks, totals = _mark(spans, order, threads)
    table = _table(vocab_size, totals, allocate)
    counts = table.log_probs.view(np.int32)
    word_counts = np.diff(starts)

    def fill(into: np.ndarray, *, adjusted: bool) -> None:
        into[: vocab_size + 1] = 0

        def part(first: int, last: int) -> int:
            return count_kernels.fill(
                text, positions, spans, next_slots, before, marks, starts, first, last, order, adjusted,
                table.offsets, table.words, table.suffixes, table.children, into,
            )  # fmt: skip

        ends = 0
        for group in batched(segments, 2 * threads):
            ends += sum(side_by_side((partial(part, *words) for words in group), threads))
            # Between groups, since it affects the pages of all threads.
            let_go(table.words, table.suffixes, table.children, into)
        if adjusted and order > 1:
            into[eos_id] = ends
        else:
            into[:vocab_size] = word_counts[:vocab_size]
            into[eos_id] = num_lines
        into[vocab_size] = 0

    fill(counts, adjusted=continuation)
    raw = None
    if with_raw and continuation:
        raw = np.empty(table.total, np.int32)
        fill(raw, adjusted=False)
    elif with_raw:
        raw = counts
    index = None
    if with_index:
        del next_slots, before, spans, marks
        index = TextIndex(_placed("text", text, allocate), _placed("positions", positions, allocate))
    return Counted(table, counts, raw, index)


class SortedText(NamedTuple):
    """A text and its positions (`TextIndex`), and the results of their sorting.

    starts: (vocabulary + 2,) where the positions of each first word begin. segments: ranges of first words with about
    as many positions each. spans: see `suffix_sort.sort_buckets`.
    """

    text: np.ndarray
    positions: np.ndarray
    starts: np.ndarray
    segments: list[tuple[int, int]]
    spans: np.ndarray


def sort_text(
    tokens: np.ndarray, num_lines: int, vocab_size: int, eos_id: int, depth: int, *, threads: int = 1
) -> SortedText:
    """The positions of a text, sorted by the words that follow to a depth. DataError if it is too long for int32."""
    assert len(tokens) == 0 or tokens[-1] == eos_id, "the last line has its </s>"
    if len(tokens) + num_lines > MOST_IDS:
        raise DataError(
            f"the text has {len(tokens):,} tokens, more than {MOST_IDS - num_lines:,}: count it in parts with "
            "--memory, or only a part of it"
        )
    # In memory, because of random access: only arrays written in order may be mapped to a file.
    text = np.empty(len(tokens) + num_lines, np.int32)
    count_kernels.add_starts(tokens, eos_id, vocab_size, text)
    let_go(tokens)
    positions = np.empty(len(tokens), np.int32)
    starts = np.zeros(vocab_size + 2, np.int64)
    suffix_sort.bucket(text, eos_id, positions, starts)
    segments = _segments(starts, SEGMENTS)
    spans = _sort(text, positions, starts, segments, depth, eos_id, threads)
    return SortedText(text, positions, starts, segments, spans)


def _placed(name: str, array: np.ndarray, allocate: Allocate) -> np.ndarray:
    """Copy the array to memory from `allocate`."""
    if allocate is in_memory:
        return array
    copy = allocate(name, len(array), np.int32)
    use_large_pages(copy)
    copy[:] = array
    let_go(copy)
    return copy


def _segments(starts: np.ndarray, count: int) -> list[tuple[int, int]]:
    """Ranges of first words with about as many positions each."""
    cuts = np.searchsorted(starts, [total for total, _ in parts(0, int(starts[-1]), count)][1:])
    bounds = np.unique([0, *cuts, len(starts) - 1]).tolist()
    return list(pairwise(bounds))


def _sort(
    text: np.ndarray,
    positions: np.ndarray,
    starts: np.ndarray,
    segments: list[tuple[int, int]],
    order: int,
    eos_id: int,
    threads: int,
) -> np.ndarray:
    """Sort the positions; return their spans (`sort_buckets`)."""
    bits = max(1, (len(starts) - 3).bit_length())  # of the largest id; `<s>` only begins a line
    spans = np.empty(len(positions), np.uint16)

    def part(first: int, last: int) -> None:
        suffix_sort.sort_buckets(text, positions, starts, first, last, order, eos_id, bits, spans)

    side_by_side((partial(part, *words) for words in segments), threads)
    return spans


def _mark(spans: np.ndarray, order: int, threads: int) -> tuple[np.ndarray, np.ndarray]:
    """(blocks, order - 1, 2) uint64: the places of new n-grams of two and more words, and counts before (`mark`).

    Also (order - 1,) int64: the number of n-grams of each of these orders.
    """
    marks = np.zeros(((len(spans) >> 6) + 1, max(order - 1, 1), 2), np.uint64)
    blocks = parts(0, len(marks), threads)
    side_by_side((partial(count_kernels.mark, spans, order, marks, *part) for part in blocks), threads)
    return marks, count_kernels.accumulate(marks)[: order - 1]


def _table(vocab_size: int, totals: np.ndarray, allocate: Allocate) -> NgramTable:
    offsets = np.cumsum([0, vocab_size + 1, *totals], dtype=np.int64)
    return NgramTable.allocated(vocab_size, offsets, allocate)
