"""Build a table from n-grams in any order: sort, link, and add missing contexts."""

import logging
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from lmkit.errors import ModelError
from lmkit.jit import kernel
from lmkit.notes import NOTE
from lmkit_ngram.arpa_sections import Section
from lmkit_ngram.queries import NOTHING, find_child
from lmkit_ngram.sorting import radix_sort
from lmkit_ngram.table import NgramTable, link_type

log = logging.getLogger(__name__)


def build_table(sections: list[Section], vocab_size: int, names: Sequence[bytes]) -> NgramTable:
    """The table of the n-grams in a file, with words as ids (`<s>` is `vocab_size`).

    sections: order by order; the first has all unigrams in the order of their ids. names: of the ids.
    A context that is not an n-gram, as after pruning, is added with its backoff probability, so no score changes. A
    missing suffix is not added: the link goes to the longest existing suffix. Raises ModelError for duplicate
    n-grams.
    """
    sections = [sections[0], *(_without_late_starts(section, vocab_size) for section in sections[1:])]
    builder = _Builder(sections, {}, vocab_size, names)
    builder.build()
    if builder.missing:
        added = {order: np.unique(np.concatenate(rows), axis=0) for order, rows in builder.missing.items()}
        log.log(
            NOTE,
            "missing contexts of n-grams are added: %s",
            ", ".join(f"{len(rows):,} of order {order}" for order, rows in sorted(added.items())),
        )
        builder = _Builder(sections, added, vocab_size, names)
        builder.build()
    return builder.table()


def _without_late_starts(section: Section, start: int) -> Section:
    """The n-grams without `<s>` after their first word."""
    late = (section.rows[:, 1:] == start).any(1)
    if not late.any():
        return section
    log.warning("%s n-grams with <s> after a word are ignored: they occur in no text", f"{late.sum():,}")
    return Section(section.rows[~late], section.log_probs[~late], section.backoffs[~late])


class _Builder:
    """A table that grows order by order.

    added: by order, rows of contexts to add if the file lacks them.
    missing: after `build`, by order, the contexts to add first; then the table is unusable.
    """

    def __init__(
        self, sections: list[Section], added: dict[int, np.ndarray], vocab_size: int, names: Sequence[bytes]
    ) -> None:
        self.missing: dict[int, list[np.ndarray]] = defaultdict(list)
        self._sections, self._added = sections, added
        self._vocab_size, self._names = vocab_size, names
        sizes = [len(section.rows) + len(added.get(k, ())) for k, section in enumerate(sections, 1)]
        total, contexts = sum(sizes), sum(sizes[:-1])
        self._offsets = np.zeros(len(sections) + 1, np.int64)
        link = link_type(total)
        self._words, self._suffixes = np.empty(total, np.int32), np.empty(total, link)
        self._children = np.empty(contexts + 1, link)
        self._log_probs, self._backoffs = np.empty(total, np.float32), np.empty(contexts, np.float32)

    def build(self) -> None:
        unigrams = self._sections[0]
        size = len(unigrams.rows)
        self._words[:size] = np.arange(size)
        self._suffixes[:size] = NOTHING
        self._log_probs[:size] = unigrams.log_probs
        self._backoffs[:size] = unigrams.backoffs[: len(self._backoffs)]
        self._offsets[1] = size
        for order in range(2, len(self._sections) + 1):
            self._place(order)
        self._children[self._offsets[-2]] = self._offsets[-1]

    def table(self) -> NgramTable:
        contexts, total = self._offsets[-2:].tolist()
        return NgramTable(
            len(self._sections), self._vocab_size, self._offsets,
            self._words[:total], self._suffixes[:total], self._children[: contexts + 1],
            self._log_probs[:total], self._backoffs[:contexts],
        )  # fmt: skip

    def _place(self, order: int) -> None:
        section, rows = self._sections[order - 1], self._sections[order - 1].rows
        if order in self._added:
            rows = np.concatenate([rows, self._added[order]])
        parents = np.empty(len(rows), np.int64)
        find_contexts(rows, self._children, self._words, parents)
        places = np.flatnonzero(parents >= 0).astype(link_type(len(rows)))
        if len(places) < len(rows):
            self._note_missing(rows[parents < 0], -parents[parents < 0])
        # The n-grams of one context are adjacent, by ascending word.
        first = self._offsets[order - 2]
        keys = ((parents[places] - first) * (self._vocab_size + 1) + rows[places, -1]).astype(np.uint64)
        bits = int(keys.max()).bit_length() if len(keys) else 0
        radix_sort(keys, places, len(keys), bits, np.empty_like(keys), np.empty_like(places))
        end = place_ngrams(
            keys, places, self._offsets[order - 2], self._offsets[order - 1], self._vocab_size,
            section.log_probs, section.backoffs,
            self._words, self._suffixes, self._children, self._log_probs, self._backoffs,
        )  # fmt: skip
        if end < 0:
            words = b" ".join(self._names[i] for i in rows[places[-end]]).decode()
            raise ModelError(f"the n-gram '{words}' occurs twice; fix the file or get it again")
        self._offsets[order] = end

    def _note_missing(self, rows: np.ndarray, lengths: np.ndarray) -> None:
        """Record all contexts of these n-grams that are longer than the existing one."""
        for length in range(2, rows.shape[1]):
            self.missing[length].append(rows[lengths < length, :length])


@kernel
def find_contexts(rows: np.ndarray, children: np.ndarray, words: np.ndarray, parents: np.ndarray) -> None:
    """The ids of all words of each row except the last; -length if only this many words are an n-gram."""
    for row in range(len(rows)):
        state = int(np.int64(rows[row, 0]))
        for i in range(1, rows.shape[1] - 1):
            child = find_child(children, words, state, int(np.int64(rows[row, i])))
            if child < 0:
                state = -i
                break
            state = child
        parents[row] = state


@kernel
def place_ngrams(
    keys: np.ndarray,
    places: np.ndarray,
    first_context: int,
    first: int,
    vocab_size: int,
    file_log_probs: np.ndarray,
    file_backoffs: np.ndarray,
    words: np.ndarray,
    suffixes: np.ndarray,
    children: np.ndarray,
    log_probs: np.ndarray,
    backoffs: np.ndarray,
) -> int:
    """Append the n-grams of one order to those of the lower ones; return the id after the last.

    keys: context and word of each, sorted; places: their rows, equal ones by ascending row. Rows past those of the
    file are added contexts: duplicates of the file's or of each other are skipped.
    first_context, first: the first ids of the order below and of this one.
    Returns -i if the key i is a duplicate of an n-gram in the file.
    """
    ngram = first
    context = first_context
    base = np.uint64(vocab_size + 1)
    for i in range(len(keys)):
        in_file = places[i] < len(file_log_probs)
        if i > 0 and keys[i] == keys[i - 1]:
            if in_file:
                return -i
            continue
        word = int(np.int64(keys[i] % base))
        parent = first_context + np.int64(keys[i] // base)
        while context <= parent:
            children[context] = ngram
            context += 1
        # Backing off passes the contexts that have the longest suffix among their children.
        weight = np.float64(backoffs[parent])
        state = int(np.int64(suffixes[parent]))
        suffix = NOTHING
        while state >= 0:
            suffix = find_child(children, words, state, word)
            if suffix >= 0:
                break
            weight += backoffs[state]
            state = int(np.int64(suffixes[state]))
        if suffix < 0:
            suffix = word
        words[ngram] = word
        suffixes[ngram] = suffix
        log_probs[ngram] = file_log_probs[places[i]] if in_file else min(weight + log_probs[suffix], 0.0)
        if ngram < len(backoffs):
            backoffs[ngram] = file_backoffs[places[i]] if in_file else 0.0
        ngram += 1
    # The last context's children end where those of the first n-gram of this order will begin.
    while context <= first:
        children[context] = ngram
        context += 1
    return ngram
