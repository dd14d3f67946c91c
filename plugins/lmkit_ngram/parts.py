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
from lmkit_ngram.logarithm import to_log10
from lmkit_ngram.options import NgramOptions
from lmkit_ngram.part_count import Nodes, Rows, as_counts, counted_parts, split
from lmkit_ngram.part_merge import Levels, Merge, new_table
from lmkit_ngram.part_plan import Part, Plan, make_plan
from lmkit_ngram.part_smooth import Level, Settings, smooth
from lmkit_ngram.part_tally import Tally, nodes_of
from lmkit_ngram.prune import thresholds
from lmkit_ngram.smoothing import counts_needed, discounts_from, mixed_unigrams
from lmkit_ngram.table import Allocate, NgramTable

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
    settings = settings_from(job.tally, word_counts, corpus.num_lines, vocabulary.eos_id, options)
    levels = job.smooth(settings)
    return merged(levels, settings, job.plan, vocabulary, folder, progress, allocate)


def settings_from(
    tally: Tally, word_counts: np.ndarray, num_lines: int, eos_id: int, options: NgramOptions
) -> Settings:
    """The unigrams and discounts, which need the counts of all parts."""
    order, smoothing = options.order, options.smoothing
    counts = tally.before
    if order == 1 or not counts_needed(smoothing):
        counts = word_counts.copy()
        counts[eos_id] = num_lines
    counts = as_counts(counts)
    seen = [discounting.counts_of_counts(counts, 0, len(counts)), *map(tuple, tally.seen[1:].tolist())]
    present = [bool(counts.any()), *(tally.sizes[1:] > 0).tolist()]
    discounts = discounts_from(seen, present, smoothing)
    return Settings(
        order,
        mixed_unigrams(counts, discounts[0], smoothing),
        discounts,
        np.float32(smoothing == "witten-bell"),
        thresholds(options),
    )


def merged(
    levels: Levels,
    settings: Settings,
    plan: Plan,
    vocabulary: "Vocabulary",
    folder: Path,
    progress: "Progress",
    allocate: Allocate,
) -> NgramTable:
    """The table of the n-grams of all parts."""
    logarithms = settings.unigrams.copy()
    to_log10(logarithms)
    table = new_table(levels, vocabulary.size, logarithms, allocate)
    merge = Merge(plan, levels, vocabulary.eos_id, table, folder)
    orders = range(2, settings.order + 1)
    for order in progress(orders, total=len(orders), label="merging the parts"):
        merge.run_order(order)
    return table


@dataclass
class _Job:
    """The steps before the merge.

    bigrams: those of heads, by part.
    """

    corpus: "TokenStore"
    vocabulary: "Vocabulary"
    options: NgramOptions
    plan: Plan
    folder: Path
    progress: "Progress"

    def __post_init__(self) -> None:
        self.bigrams: dict[int, Nodes] = {}
        self.tally = Tally.empty(self.options.order, self.vocabulary.size)

    def count(self) -> None:
        """Split the text and count each part; its sorted windows are kept in files."""
        order = self.options.order
        starts = split(self.corpus, self.vocabulary, order, self.plan, self.folder, self.progress)
        words = np.flatnonzero(starts).astype(np.int32)
        line_counts = as_counts(starts[words])
        start = self.vocabulary.size
        self.bigrams[0] = Nodes.of_bigrams(order, start, words, line_counts, line_counts)
        for part, rows in counted_parts(self.vocabulary, order, self.plan, self.folder, self.progress):
            rows.save(self._path(part))
            nodes = nodes_of(rows, self.options)
            if part.head is None:
                self.tally.add(nodes, 2)
            else:
                self.tally.add(nodes, 3)
                head = self.plan.parts[part.head]
                self.bigrams[head.number] = nodes.bigrams_with(self.bigrams.get(head.number))
        for nodes in self.bigrams.values():
            self.tally.add(nodes, 2)
        log.info(
            "counted %s n-grams in %d parts",
            " + ".join(f"{n:,}" for n in self.tally.sizes),
            len(self.plan.parts),
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
                nodes = nodes_of(Rows.load(path), self.options)
                path.unlink()
                if part.head is None:
                    levels.append(part.number, smooth(nodes, settings), range(2, settings.order + 1))
                else:
                    levels.append(part.number, smooth(nodes, settings, shared), range(3, settings.order + 1))
        return levels

    def _path(self, part: Part) -> Path:
        return self.folder / f"rows-{part.number}"
