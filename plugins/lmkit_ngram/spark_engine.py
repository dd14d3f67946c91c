"""Estimate a model on a cluster: Spark brings the windows of each part together, and lmkit's kernels do the rest."""

import logging
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import lmkit
from lmkit_ngram.memory import LEAST
from lmkit_ngram.options import NgramOptions
from lmkit_ngram.part_count import Nodes, as_counts
from lmkit_ngram.part_merge import Levels
from lmkit_ngram.part_plan import Plan, make_plan
from lmkit_ngram.part_smooth import Settings, smooth
from lmkit_ngram.part_tally import Tally
from lmkit_ngram.parts import merged, settings_from
from lmkit_ngram.spark_tasks import ROWS, SCHEMA, TEXT, Count, Smooth, Split, level_from, to_arrays
from lmkit_ngram.table import Allocate, NgramTable

if TYPE_CHECKING:
    from lmkit.contracts import Progress, Vocabulary
    from lmkit.corpus.store import TokenStore

log = logging.getLogger(__name__)

BLOCK = 1 << 18
"""Tokens in a row of the text that Spark reads."""
MOST = 1 << 20
"""Windows of a part of most texts: a task needs some 250 bytes for each, and returns some 60."""
MOST_PARTS = 20_000
"""Parts of the largest texts, about: Spark keeps a record for each in every task that splits the text."""
A_CORE = 2
"""Parts for each core, at least, if the text is large enough."""


def estimate_in_spark(
    corpus: "TokenStore",
    vocabulary: "Vocabulary",
    options: NgramOptions,
    *,
    session: Any,
    folder: Path,
    progress: "Progress",
    allocate: Allocate,
) -> NgramTable:
    """The n-grams of a corpus with their probabilities, equal to those of `estimate.estimate_model`.

    session: of Spark. folder: an empty folder that its workers can read. allocate: creates the table's arrays.
    Tasks have no effects but their results, so Spark may repeat any.
    """
    word_counts = corpus.counts(vocabulary.size)
    word_counts[vocabulary.eos_id] = 0  # no context
    cores = session.sparkContext.defaultParallelism
    most = min(max(MOST, corpus.num_tokens // MOST_PARTS), max(LEAST, corpus.num_tokens // (A_CORE * cores)))
    job = _Job(vocabulary, options, make_plan(word_counts, options.order, most), progress)
    text = folder / "text.parquet"
    starts = write_text(corpus, vocabulary, options.order, text, progress)
    job.count(session.read.schema(TEXT).parquet(text.as_uri()), starts)
    settings = settings_from(job.tally, word_counts, corpus.num_lines, vocabulary.eos_id, options)
    levels = job.smooth(settings, folder)
    return merged(levels, settings, job.plan, vocabulary, folder, progress, allocate)


def write_text(
    corpus: "TokenStore", vocabulary: "Vocabulary", order: int, path: Path, progress: "Progress"
) -> np.ndarray:
    """Write a text as a Parquet file for Spark; return (words,) int64, the number of lines that begin with each word.

    Each row has a block of tokens, after the words before it, and is a row group, so that Spark can divide the file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    starts = np.zeros(vocabulary.size, np.int64)
    schema = pa.schema([("skip", pa.int32()), ("tokens", pa.binary())])
    blocks = range(0, corpus.num_tokens, BLOCK)
    with pq.ParquetWriter(path, schema) as writer:
        for begin in progress(blocks, total=len(blocks), label="writing the text for Spark"):
            before = max(0, begin - order)
            tokens = corpus.tokens[before : begin + BLOCK].astype(np.int32)
            skip = begin - before
            first = np.concatenate([[begin == 0], tokens[:-1] == vocabulary.eos_id])
            starts += np.bincount(tokens[skip:][first[skip:]], minlength=len(starts))
            writer.write_table(pa.table([[skip], [tokens.tobytes()]], schema=schema))
    return starts


class _Job:
    """The steps before the merge. bigrams: those of heads, by part."""

    def __init__(
        self, vocabulary: "Vocabulary", options: NgramOptions, plan: Plan, progress: "Progress"
    ) -> None:
        self.vocabulary = vocabulary
        self.options = options
        self.plan = plan
        self.progress = progress
        self.bigrams: dict[int, Nodes] = {}
        self.tally = Tally.empty(options.order, vocabulary.size)
        self.counted: Any = None

    def count(self, text: Any, starts: np.ndarray) -> None:
        """Split a text and count its parts. starts: how many lines begin with each word."""
        order, size = self.options.order, self.vocabulary.size
        words = np.flatnonzero(starts).astype(np.int32)
        line_counts = as_counts(starts[words])
        self.bigrams[0] = Nodes.of_bigrams(order, size, words, line_counts, line_counts)
        parts, plan = len(self.plan.parts), self.plan
        slices = frozenset(part.number for part in plan.parts if part.head is not None)
        split = Split(lmkit.__version__, order, self.vocabulary.eos_id, size, parts, plan.first, plan.slices)
        count = Count(lmkit.__version__, size, self.options, slices)
        windows = text.mapInArrow(split.run, SCHEMA).repartitionById(parts, "part")
        self.counted = _kept(windows.mapInArrow(count.run, SCHEMA))
        _compute(self.counted, self.progress, "splitting and counting in Spark")
        rows = self.counted.where(~self.counted.name.isin(*ROWS)).toLocalIterator()
        for number, arrays in to_arrays(rows):
            self._add(number, arrays)
        for nodes in self.bigrams.values():
            self.tally.add(nodes, 2)
        log.info("counted %s n-grams in %d parts", " + ".join(f"{n:,}" for n in self.tally.sizes), parts)

    def smooth(self, settings: Settings, folder: Path) -> Levels:
        """The probabilities of all parts, in files."""
        levels = Levels(folder, settings.order)
        heads = {number: smooth(nodes, settings)[0] for number, nodes in self.bigrams.items()}
        shared = {
            part.number: heads[part.head]
            for part in self.plan.parts
            if part.head is not None and part.head in heads
        }
        task = Smooth(lmkit.__version__, self.options, settings, shared)
        rows = self.counted.where(self.counted.name.isin(*ROWS))
        smoothed = _kept(rows.mapInArrow(task.run, SCHEMA))
        _compute(smoothed, self.progress, "smoothing in Spark")
        arriving = to_arrays(smoothed.toLocalIterator(prefetchPartitions=True))
        number, arrays = next(arriving, (None, {}))
        parts = self.plan.parts
        for part in self.progress(parts, total=len(parts), label="fetching the parts"):
            if part.number in heads:
                levels.append(part.number, [heads[part.number]], range(2, 3))
            elif part.number == number:
                lengths = range(2 if part.head is None else 3, settings.order + 1)
                found = [level_from(arrays, length) for length in range(2, settings.order + 1)]
                levels.append(part.number, found, lengths)
                number, arrays = next(arriving, (None, {}))
        assert number is None, "Spark returns the parts in order"
        return levels

    def _add(self, number: int, arrays: dict[str, np.ndarray]) -> None:
        """Add what a worker found in a part."""
        order = self.options.order
        self.tally.seen += arrays["seen"].reshape(-1, 4)
        self.tally.sizes += arrays["sizes"]
        if "before" in arrays:
            self.tally.before[arrays["before-words"]] += arrays["before"]
        head = self.plan.parts[number].head
        if head is not None:
            word = self.plan.parts[head].word
            assert word is not None
            columns = (arrays[f"bigram-{name}"] for name in ("words", "counts", "raw"))
            self.bigrams[head] = Nodes.of_bigrams(order, word, *columns).bigrams_with(self.bigrams.get(head))


def _kept(frame: Any) -> Any:
    """A result that stays on the disks of the workers."""
    return frame.persist(import_module("pyspark").StorageLevel.DISK_ONLY)


def _compute(frame: Any, progress: "Progress", label: str) -> None:
    for one in progress([frame], total=None, label=label):
        one.count()
