"""Estimate a model in bounded memory: split the text into parts on disk, count and smooth each, and merge them.

An n-gram belongs to the part of the last word of its context. Dropping the first word keeps that word, so counts of
distinct words before an n-gram and the probabilities of shorter n-grams are in the same part; dropping the last word
leaves the context, so sums over its followers are too. Only unigrams and the discounts need all parts.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lmkit_ngram import smoothing_kernels as discounting
from lmkit_ngram.count import Allocate
from lmkit_ngram.logarithm import to_log10
from lmkit_ngram.options import NgramOptions
from lmkit_ngram.part_count import Nodes, Rows, counted_parts, split
from lmkit_ngram.part_merge import Levels, Merge, new_table
from lmkit_ngram.part_plan import Part, Plan, make_plan
from lmkit_ngram.part_smooth import Level, Settings, smooth
from lmkit_ngram.prune import thresholds
from lmkit_ngram.smoothing import counts_needed, discounts_from, mixed_unigrams
from lmkit_ngram.table import NgramTable

if TYPE_CHECKING:
    from lmkit.contracts import Progress, Vocabulary
    from lmkit.corpus.store import TokenStore

log = logging.getLogger(__name__)


def estimate_in_parts(
    corpus: "TokenStore",
    vocabulary: "Vocabulary",
    options: NgramOptions,
    *,
    most: int,
    folder: Path,
    progress: "Progress",
    allocate: Allocate,
) -> NgramTable:
    """The n-grams of a corpus with their probabilities, equal to those of `estimate.estimate_model`.

    most: windows of a part, about. folder: an empty folder for the parts. allocate: creates the table's arrays.
    """
    word_counts = corpus.counts(vocabulary.size)
    word_counts[vocabulary.eos_id] = 0  # no context
    job = _Job(corpus, vocabulary, options, make_plan(word_counts, options.order, most), folder, progress)
    if options.order > 1:
        job.count()
    settings = job.settings(word_counts)
    levels = job.smooth(settings)
    logarithms = settings.unigrams.copy()
    to_log10(logarithms)
    table = new_table(levels, vocabulary.size, logarithms, allocate)
    merge = Merge(job.plan, levels, vocabulary.eos_id, table, folder)
    orders = range(2, options.order + 1)
    for order in progress(orders, total=len(orders), label="merging the parts"):
        merge.run_order(order)
    return table


@dataclass
class _Job:
    """The steps before the merge.

    bigrams: those of heads, by part. seen: (order, 4) int64, the numbers of n-grams of two and more words with counts
    of one to four. sizes: (order,) int64, the numbers of all of these. before: (words,) int64, the number of
    distinct words before each word.
    """

    corpus: "TokenStore"
    vocabulary: "Vocabulary"
    options: NgramOptions
    plan: Plan
    folder: Path
    progress: "Progress"

    def __post_init__(self) -> None:
        self.bigrams: dict[int, Nodes] = {}
        self.seen = np.zeros((self.options.order, 4), np.int64)
        self.sizes = np.zeros(self.options.order, np.int64)
        self.before = np.zeros(self.vocabulary.size, np.int64)

    def count(self) -> None:
        """Split the text and count each part; its sorted windows are kept in files."""
        order = self.options.order
        starts = split(self.corpus, self.vocabulary, order, self.plan, self.folder, self.progress)
        words = np.flatnonzero(starts).astype(np.int32)
        line_counts = starts[words].astype(np.int32)
        start = self.vocabulary.size
        self.bigrams[0] = Nodes.of_bigrams(order, start, words, line_counts, line_counts)
        for part, rows in counted_parts(self.vocabulary, order, self.plan, self.folder, self.progress):
            rows.save(self._path(part))
            nodes = self._nodes(rows)
            if part.head is None:
                self._tally(nodes, 2)
            else:
                self._tally(nodes, 3)
                head = self.plan.parts[part.head]
                self.bigrams[head.number] = nodes.bigrams_with(self.bigrams.get(head.number))
        for nodes in self.bigrams.values():
            self._tally(nodes, 2)
        log.info(
            "counted %s n-grams in %d parts", " + ".join(f"{n:,}" for n in self.sizes), len(self.plan.parts)
        )

    def settings(self, word_counts: np.ndarray) -> Settings:
        """The unigrams and discounts, which need the counts of all parts."""
        order, smoothing = self.options.order, self.options.smoothing
        counts = self.before
        if order == 1 or not counts_needed(smoothing):
            counts = word_counts
            counts[self.vocabulary.eos_id] = self.corpus.num_lines
        counts = counts.astype(np.int32)
        seen = [discounting.counts_of_counts(counts, 0, len(counts)), *map(tuple, self.seen[1:].tolist())]
        present = [bool(counts.any()), *(self.sizes[1:] > 0).tolist()]
        discounts = discounts_from(seen, present, smoothing)
        return Settings(
            order,
            mixed_unigrams(counts, discounts[0], smoothing),
            discounts,
            np.float32(smoothing == "witten-bell"),
            thresholds(self.options),
        )

    def smooth(self, settings: Settings) -> Levels:
        """The probabilities of all parts, in files."""
        levels = Levels(self.folder, settings.order)
        shared: Level | None = None
        for part in self.progress(self.plan.parts, total=len(self.plan.parts), label="smoothing the parts"):
            nodes = self.bigrams.pop(part.number, None)
            if nodes is not None:
                found = smooth(nodes, settings)
                shared = found[0]
                levels.append(part.number, found, range(2, 3))
            elif (path := self._path(part)).exists():
                nodes = self._nodes(Rows.load(path))
                path.unlink()
                if part.head is None:
                    levels.append(part.number, smooth(nodes, settings), range(2, settings.order + 1))
                else:
                    levels.append(part.number, smooth(nodes, settings, shared), range(3, settings.order + 1))
        return levels

    def _nodes(self, rows: Rows) -> Nodes:
        adjusted = counts_needed(self.options.smoothing)
        nodes = rows.nodes(with_raw=not adjusted or any(thresholds(self.options)))
        if not adjusted:
            nodes.counts = nodes.raw
        return nodes

    def _tally(self, nodes: Nodes, least: int) -> None:
        """Add the n-grams of at least this many words."""
        for length in range(least, self.options.order + 1):
            first, last = map(int, nodes.firsts[length : length + 2])
            self.seen[length - 1] += discounting.counts_of_counts(nodes.counts, first, last)
            self.sizes[length - 1] += last - first
        if least == 2:
            words = nodes.words[: nodes.firsts[3]]
            self.before += np.bincount(words, minlength=len(self.before))

    def _path(self, part: Part) -> Path:
        return self.folder / f"rows-{part.number}"
