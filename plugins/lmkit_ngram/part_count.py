"""Split a text into parts on disk, and count the n-grams of each part in memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lmkit.errors import DataError
from lmkit.mapped import let_go
from lmkit.specs import MOST_IDS
from lmkit_ngram import memory, part_kernels, suffix_sort
from lmkit_ngram.part_plan import Part, Plan
from lmkit_ngram.part_scratch import read_whole

if TYPE_CHECKING:
    from lmkit.contracts import Progress, Vocabulary
    from lmkit.corpus.store import TokenStore

BLOCK = 1 << 20
"""Tokens to split before their windows are written."""


def as_counts(values: np.ndarray) -> np.ndarray:
    """Numbers as int32; DataError for one that is too large."""
    if len(values) and values.max() > MOST_IDS:
        raise DataError(
            f"a word or n-gram occurs {int(values.max()):,} times, more than {MOST_IDS:,}: count a part of the text"
        )
    return values.astype(np.int32)


@dataclass
class Nodes:
    """The n-grams of a part, of two and more words, sorted by their last two words, then from right to left.

    firsts: (order + 2,) int64; firsts[k] .. firsts[k + 1] - 1 are those of k words.
    words, lefts: int32, their last and first words. parents: int32, the n-gram without the first word; of bigrams,
    the last word. counts: int32, adjusted. raw: int32.
    """

    firsts: np.ndarray
    words: np.ndarray
    lefts: np.ndarray
    parents: np.ndarray
    counts: np.ndarray
    raw: np.ndarray

    @classmethod
    def of_bigrams(
        cls, order: int, word: int, words: np.ndarray, counts: np.ndarray, raw: np.ndarray
    ) -> "Nodes":
        """The bigrams of one word."""
        firsts = np.full(order + 2, len(words), np.int64)
        firsts[:3] = 0
        return cls(firsts, words, np.full(len(words), word, np.int32), words, counts, raw)

    def bigrams_with(self, others: "Nodes | None") -> "Nodes":
        """The bigrams, all of one word, with the sums of their counts and those of others of this word."""
        last = int(self.firsts[3])
        columns = [self.words[:last], self.counts[:last], self.raw[:last]]
        if others is not None:
            mine = (others.words, others.counts, others.raw)
            columns = [np.concatenate(pair) for pair in zip(columns, mine, strict=True)]
        words, which = np.unique(columns[0], return_inverse=True)
        sums = [as_counts(np.bincount(which, weights=column)) for column in columns[1:]]
        return Nodes.of_bigrams(len(self.firsts) - 2, int(self.lefts[0]), words, *sums)


@dataclass
class Rows:
    """The different windows of a part, sorted (`part_kernels.windows`).

    rows: (number, order) int32. spans: (number,) uint16, shared | available << 8: the number of words that a row
    shares with the one before, and that it has. counts: (number,) int32.
    """

    rows: np.ndarray
    spans: np.ndarray
    counts: np.ndarray

    @classmethod
    def count(cls, rows: np.ndarray, vocab_size: int, row_counts: np.ndarray | None = None) -> "Rows":
        """Sort windows and count equal ones. row_counts: (number,) int32, of each; None: one."""
        number, order = rows.shape
        if rows.size > MOST_IDS:  # places are int32
            raise DataError(
                f"the n-grams after one pair of words are too many: {number:,} places, and a part may have "
                f"{MOST_IDS // order:,}; lower --order or count a part of the text"
            )
        positions = np.empty(number, np.int32)
        starts = np.zeros(vocab_size + 3, np.int64)
        part_kernels.bucket_rows(rows, positions, starts)
        spans = np.empty(number, np.uint16)
        suffix_sort.sort_buckets(
            rows.reshape(-1), positions, starts, 0, len(starts) - 1, order, part_kernels.END,
            (vocab_size + 1).bit_length(), spans,
        )  # fmt: skip
        found = cls(np.empty_like(rows), np.empty_like(spans), np.empty(number, np.int32))
        number = part_kernels.distinct_rows(
            rows, np.empty(0, np.int32) if row_counts is None else row_counts, positions, spans,
            found.rows, found.spans, found.counts,
        )  # fmt: skip
        return cls(found.rows[:number], found.spans[:number], found.counts[:number])

    def and_others(self, others: "Rows", vocab_size: int) -> "Rows":
        """The different windows of both, with the sums of their counts."""
        rows, counts = np.concatenate([self.rows, others.rows]), np.concatenate([self.counts, others.counts])
        return Rows.count(rows, vocab_size, counts)

    def save(self, path: Path) -> None:
        with path.open("wb") as file:
            for array in (self.rows, self.spans, self.counts):
                np.save(file, array, allow_pickle=False)

    @classmethod
    def load(cls, path: Path) -> "Rows":
        with path.open("rb") as file:
            return cls(*(np.load(file, allow_pickle=False) for _ in range(3)))

    def nodes(self, *, with_raw: bool) -> Nodes:
        """The n-grams of all orders; without raw counts, they have the adjusted ones in their place."""
        order = self.rows.shape[1]
        sizes = np.zeros(order + 1, np.int64)
        part_kernels.node_sizes(self.spans, sizes)
        firsts = np.concatenate([[0], np.cumsum(sizes)])
        words, lefts, parents, counts = (np.empty(firsts[-1], np.int32) for _ in range(4))
        raw = np.empty(firsts[-1] if with_raw else 0, np.int32)
        part_kernels.fill_nodes(
            self.rows, self.spans, self.counts, firsts, words, lefts, parents, counts, raw
        )
        return Nodes(firsts, words, lefts, parents, counts, raw if with_raw else counts)


def split(
    corpus: "TokenStore",
    vocabulary: "Vocabulary",
    order: int,
    plan: Plan,
    folder: Path,
    progress: "Progress",
) -> np.ndarray:
    """Write the windows of a text to the files of their parts (`windows_path`).

    Returns (words,) int64, the number of lines that begin with each word.
    """
    starts = np.zeros(vocabulary.size, np.int64)
    rows = np.empty((min(BLOCK, corpus.num_tokens), order), np.int32)
    ends = np.empty(len(plan.parts), np.int64)
    blocks = range(0, corpus.num_tokens, BLOCK)
    for begin in progress(blocks, total=len(blocks), label="splitting the text into parts"):
        before = max(0, begin - order)
        tokens = corpus.tokens[before : begin + BLOCK].astype(np.int32)
        let_go(corpus.tokens)
        part_kernels.windows(
            tokens,
            begin - before,
            vocabulary.eos_id,
            vocabulary.size,
            plan.first,
            plan.slices,
            starts,
            ends,
            rows,
        )
        at = 0
        for part, end in enumerate(ends.tolist()):
            if end > at:
                with windows_path(folder, part).open("ab") as file:
                    file.write(rows[at:end].data)
            at = end
    return starts


def windows_path(folder: Path, part: int) -> Path:
    return folder / f"windows-{part}"


def counted_parts(
    vocabulary: "Vocabulary", order: int, plan: Plan, folder: Path, progress: "Progress"
) -> Iterator[tuple[Part, Rows]]:
    """The sorted windows of each part that has some, whose files are deleted."""
    for part in progress(plan.parts, total=len(plan.parts), label="counting the parts"):
        path = windows_path(folder, part.number)
        if path.exists():
            rows = _counted(path, vocabulary.size, order, plan.most)
            path.unlink()
            yield part, rows


def _counted(path: Path, vocab_size: int, order: int, most: int) -> Rows:
    """The sorted windows of a file.

    A part is larger than planned if a word before a frequent word is frequent too; then it is counted in blocks, since
    equal windows need no more memory. Raises DataError if too many are different.
    """
    number = path.stat().st_size // (4 * order)
    found: Rows | None = None
    for first in range(0, number, most):
        last = min(first + most, number)
        windows = read_whole(path, np.dtype(np.int32), (last - first) * order, first * order)
        rows = Rows.count(windows.reshape(-1, order), vocab_size)
        found = rows if found is None else found.and_others(rows, vocab_size)
        del windows, rows
        if len(found.rows) > max(most, memory.LEAST):
            needed = memory.needed_for(len(found.rows) * number // last, order, vocab_size)
            raise DataError(
                f"the n-grams after one pair of words are too many for this --memory: {len(found.rows):,} different "
                f"ones in the first {last:,} of {number:,} places; give at least --memory {needed / 1e6:.0f}M, or "
                "lower --order"
            )
    assert found is not None, "empty files are not written"
    return found
