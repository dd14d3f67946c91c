"""Put the n-grams of all parts into the arrays of a model, order by order, without holding a whole order."""

import contextlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lmkit.mapped import let_go
from lmkit_ngram import part_kernels
from lmkit_ngram.model_files import Allocator
from lmkit_ngram.part_plan import Plan
from lmkit_ngram.part_scratch import Column, Sizes
from lmkit_ngram.part_smooth import Level
from lmkit_ngram.table import Allocate, NgramTable

SEGMENT = 1 << 21
"""Contexts, or n-grams, that are placed at once."""
COLUMNS = (
    ("backoffs", np.float32),
    ("words", np.int32),
    ("suffixes", np.int32),
    ("log_probs", np.float32),
)
"""The arrays of a Level that are written besides sizes, and their types."""


class Levels:
    """The n-grams of all parts, by order, in files."""

    def __init__(self, folder: Path, order: int) -> None:
        self.order = order
        self.columns: dict[tuple[int, str], Column] = {}
        for length in range(2, order + 1):
            self.columns[length, "sizes"] = Sizes(folder / f"sizes-{length}")
            for name, dtype in COLUMNS:
                self.columns[length, name] = Column(folder / f"{name}-{length}", dtype)
        self.first_words = Column(folder / "first-words", np.int32)

    def append(self, part: int, levels: list[Level], only: range) -> None:
        """Write the orders of a part that belong to it."""
        for length in only:
            level = levels[length - 2]
            for name in ("sizes", *(name for name, _ in COLUMNS)):
                self.columns[length, name].append(part, getattr(level, name))
            if length == 2:
                self.first_words.append(part, level.first_words)

    def delete(self, order: int) -> None:
        for name in ("sizes", *(name for name, _ in COLUMNS)):
            self.columns[order, name].delete()

    def sizes(self) -> list[int]:
        """The number of n-grams of each order from 2 on."""
        return [self.columns[length, "words"].length for length in range(2, self.order + 1)]


@dataclass
class Merge:
    """The construction of a table from `levels`.

    contexts: of the current order, the ids of each part's contexts, ascending, at the bounds of its sizes.
    ids: of the order below, the ids of each part's n-grams.
    """

    plan: Plan
    levels: Levels
    eos_id: int
    table: NgramTable
    folder: Path
    contexts: np.ndarray = field(default_factory=lambda: np.empty(0, np.int32))
    ids: np.ndarray = field(default_factory=lambda: np.empty(0, np.int32))

    def run_order(self, order: int) -> None:
        """Place the n-grams of an order; the shorter ones must be there."""
        if order == 2:
            self.contexts = self.levels.first_words.read(0, self.levels.first_words.length)
            self.levels.first_words.delete()
        self._place_contexts(order)
        self.levels.columns[order, "backoffs"].delete()
        self._find_suffixes(order)
        self.ids = np.empty(0, np.int32)
        self._delete("ids", order - 1)
        link = self.table.link
        contexts = ids = np.empty(0, link)
        allocate = Allocator(self.folder)
        if order < self.table.order:
            contexts = allocate(f"contexts-{order}", self.levels.columns[order + 1, "sizes"].length, link)
            ids = allocate(f"ids-{order}", self.levels.columns[order, "words"].length, link)
        self._place_ngrams(order, contexts, ids)
        self.levels.delete(order)
        self.contexts, self.ids = contexts, ids
        self._delete("contexts", order - 1)

    def _delete(self, name: str, order: int) -> None:
        with contextlib.suppress(OSError):  # some systems keep mapped files
            (self.folder / f"{name}-{order}.npy").unlink()

    def _place_contexts(self, order: int) -> None:
        """Fill in children and backoffs of the n-grams one word shorter."""
        offsets, table = self.table.offsets, self.table
        sizes, backoffs = (self.levels.columns[order, name] for name in ("sizes", "backoffs"))
        last, following = int(offsets[order - 1]), int(offsets[order - 1])
        places = _Cursors(self.plan, sizes)
        for first in range(int(offsets[order - 2]), last, SEGMENT):
            end = min(first + SEGMENT, last)
            numbers, weights = np.zeros(end - first, np.int64), np.zeros(end - first, np.float32)
            for start, stop in places.upto(self.contexts, end):
                part_kernels.scatter(
                    self.contexts[start:stop], first, sizes.read(start, stop), backoffs.read(start, stop),
                    numbers, weights,
                )  # fmt: skip
            ends = following + np.cumsum(numbers)
            table.children[first:end] = ends - numbers
            table.backoffs[first:end] = weights
            following = int(ends[-1])
            let_go(self.contexts, table.children, table.backoffs)
        assert following == offsets[order], "every n-gram has a context"

    def _find_suffixes(self, order: int) -> None:
        """Replace places of suffixes in the order below by ids, part by part."""
        if order == 2:
            return  # the suffix of a bigram is a word
        places = self.levels.columns[order, "suffixes"]
        found = places
        if self.table.link != np.int32:
            found = Column(places.path.with_name(f"{places.path.name}-ids"), self.table.link)
        below = self.levels.columns[order - 1, "words"]
        for part in self.plan.parts:
            start, stop = places.bounds(part.number)
            if start == stop:
                continue
            # The bigrams of a slice belong to its head.
            own = part.number if part.head is None or order > 3 else part.head
            ids = self.ids[slice(*below.bounds(own))]
            found.write(part.number, ids[places.read(start, stop)])
            let_go(self.ids)
        if found is not places:
            places.delete()
            self.levels.columns[order, "suffixes"] = found

    def _place_ngrams(self, order: int, contexts: np.ndarray, ids: np.ndarray) -> None:
        """Fill in the other arrays of the n-grams of an order; contexts, ids: filled for the next order."""
        table, columns = self.table, self.levels.columns
        sizes = columns[order, "sizes"]
        starts = _Cursors(self.plan, sizes)
        ngrams = {part.number: columns[order, "words"].bounds(part.number)[0] for part in self.plan.parts}
        next_contexts = np.zeros(len(self.plan.parts), np.int64)
        if len(contexts):
            bounds = [columns[order + 1, "sizes"].bounds(part.number)[0] for part in self.plan.parts]
            next_contexts[:] = bounds
        for first, end in self._segments(order):
            children = table.children[first : end + 1].astype(np.int64)
            if end == table.offsets[order - 1]:
                children[-1] = table.offsets[order]
            number = int(children[-1] - children[0])
            words, suffixes = np.empty(number, np.int32), np.empty(number, table.link)
            log_probs = np.empty(number, np.float32)
            for part, (start, stop) in zip(self.plan.parts, starts.upto(self.contexts, end), strict=True):
                if start == stop:
                    continue
                own = sizes.read(start, stop)
                at, to = ngrams[part.number], ngrams[part.number] + int(own.sum())
                ngrams[part.number] = to
                arrays = [columns[order, name].read(at, to) for name in ("words", "suffixes", "log_probs")]
                part_kernels.place(
                    np.array(self.contexts[start:stop]), own, children, first, arrays[0], arrays[1], arrays[2],
                    words, suffixes, log_probs, ids[at:to],
                )  # fmt: skip
            here = slice(int(children[0]), int(children[-1]))
            table.words[here], table.suffixes[here], table.log_probs[here] = words, suffixes, log_probs
            if len(contexts):
                part_kernels.send(
                    words, children, np.array(table.words[first:end]), self.eos_id, self.plan.first,
                    self.plan.slices, next_contexts, contexts,
                )  # fmt: skip
            let_go(table.words, table.suffixes, table.log_probs, table.children, self.contexts, contexts, ids)

    def _segments(self, order: int) -> list[tuple[int, int]]:
        """Ranges of contexts with about SEGMENT n-grams each, or one context."""
        first, last = int(self.table.offsets[order - 2]), int(self.table.offsets[order - 1])
        found = []
        while first < last:
            begins = self.table.children[first : min(last, first + SEGMENT)]
            upto = int(np.searchsorted(begins, int(begins[0]) + SEGMENT, side="right"))
            end = first + max(1, upto if upto == len(begins) else upto - 1)
            found.append((first, end))
            first = end
        let_go(self.table.children)
        return found


class _Cursors:
    """How far the contexts of each part have been processed."""

    def __init__(self, plan: Plan, sizes: Column) -> None:
        self._bounds = [list(sizes.bounds(part.number)) for part in plan.parts]

    def upto(self, contexts: np.ndarray, end: int) -> list[tuple[int, int]]:
        """For each part, the range of its next contexts with ids below `end`, which are then processed."""
        found = []
        for bound in self._bounds:
            start, stop = bound
            bound[0] = start + int(np.searchsorted(contexts[start:stop], end))
            found.append((start, bound[0]))
        return found


def new_table(levels: Levels, vocab_size: int, unigrams: np.ndarray, allocate: Allocate) -> NgramTable:
    """A table with room for all n-grams; the unigrams are filled in. unigrams: (words + 1,) float32, log10."""
    offsets = np.cumsum([0, vocab_size + 1, *levels.sizes()], dtype=np.int64)
    table = NgramTable.allocated(vocab_size, offsets, allocate)
    table.log_probs[: vocab_size + 1] = unigrams
    return table
