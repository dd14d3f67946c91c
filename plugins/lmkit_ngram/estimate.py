"""Estimate a model from a text: count, smooth, prune; in memory, or in parts on disk."""

import logging
import tempfile
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from lmkit.errors import UsageError
from lmkit.notes import NOTE
from lmkit_ngram import memory, prune, spark_session
from lmkit_ngram.count import count_ngrams, in_memory
from lmkit_ngram.entropy import entropy_prune
from lmkit_ngram.model_files import Allocator, StoredModel
from lmkit_ngram.options import NgramOptions
from lmkit_ngram.part_scratch import scratch_folder
from lmkit_ngram.parts import estimate_in_parts
from lmkit_ngram.quantize import pack, unpack
from lmkit_ngram.smoothing import MIXED, counts_needed, estimate
from lmkit_ngram.table import Allocate, NgramTable, TextIndex
from lmkit_ngram.threads import available

if TYPE_CHECKING:
    from lmkit.contracts import FitContext, Vocabulary
    from lmkit.corpus.store import TokenStore

log = logging.getLogger(__name__)


def fit_model(
    corpus: "TokenStore", vocabulary: "Vocabulary", options: NgramOptions, run: "FitContext"
) -> StoredModel:
    """The n-grams of a corpus with their probabilities, quantized on request, and its text if it is stored.

    They are estimated in parts on disk with `options.memory`, and else if the text outgrows the available memory.
    Raises UsageError for invalid options, DataError if there is no room for the parts.
    """
    check_options(options)
    allocate = Allocator(run.directory)
    table, index = _estimated(corpus, vocabulary, options, run, allocate)
    packed = None
    if options.quantize:
        packed = pack(table, allocate)
        table = unpack(packed, allocate, run.threads or available())
    stupid = options.smoothing == "stupid-backoff"
    alpha = options.alpha if stupid else None
    return StoredModel(table, index, options.smoothing, normalized=not stupid, alpha=alpha, packed=packed)


def _estimated(
    corpus: "TokenStore",
    vocabulary: "Vocabulary",
    options: NgramOptions,
    run: "FitContext",
    allocate: Allocator,
) -> tuple[NgramTable, TextIndex | None]:
    if options.engine == "spark":
        return _fit_in_spark(corpus, vocabulary, options, run, allocate), None
    limit = _limit(corpus, options, run)
    if limit is None:
        return estimate_model(
            corpus, vocabulary, options, threads=run.threads or available(), allocate=allocate
        )
    most = memory.windows_within(limit, options, vocabulary.size)
    with _scratch(corpus, options, run) as scratch:
        table = estimate_in_parts(
            corpus, vocabulary, options, most=most, folder=scratch, progress=run.progress, allocate=allocate
        )
        return _pruned(table, vocabulary, options, scratch, allocate), None


def check_options(options: NgramOptions) -> None:
    """Raise UsageError for options that contradict each other, or for an engine that is not there."""
    prune.check(options)
    if options.engine != "spark":
        if options.spark_master is not None:
            raise UsageError("--spark-master is for --engine spark: add it, or leave out the master")
        return
    if options.memory is not None:
        raise UsageError(
            "--memory is for one machine; with --engine spark, Spark's settings bound the memory"
        )
    if problem := _needs_memory(options):
        raise UsageError(f"--engine spark builds a model from parts, which cannot use {problem}")
    if options.order == 1:
        raise UsageError("--engine spark needs --order 2 or more: reading the text counts its words already")
    spark_session.check(options.spark_master)


def _fit_in_spark(
    corpus: "TokenStore",
    vocabulary: "Vocabulary",
    options: NgramOptions,
    run: "FitContext",
    allocate: Allocator,
) -> NgramTable:
    from lmkit_ngram.spark_engine import estimate_in_spark

    assert options.spark_master is not None
    with _scratch(corpus, options, run) as scratch:
        with spark_session.spark_session(options.spark_master, scratch / "java.log") as session:
            table = estimate_in_spark(
                corpus, vocabulary, options,
                session=session, folder=scratch, progress=run.progress, allocate=allocate,
            )  # fmt: skip
        return _pruned(table, vocabulary, options, scratch, allocate)


def _scratch(corpus: "TokenStore", options: NgramOptions, run: "FitContext") -> AbstractContextManager[Path]:
    """The folder for parts."""
    if options.store_text:
        log.log(NOTE, "a model from parts does not store its text, so it cannot count n-grams of any length")
    need = memory.needed_on_disk(corpus.num_tokens, options.order, entropy_prune=options.entropy_prune > 0)
    return scratch_folder(options.scratch or run.directory or tempfile.gettempdir(), need)


def _pruned(
    table: NgramTable, vocabulary: "Vocabulary", options: NgramOptions, scratch: Path, allocate: Allocator
) -> NgramTable:
    """A table from parts, pruned by entropy if the options say so."""
    if not options.entropy_prune:
        return table
    return entropy_prune(table, options.entropy_prune, vocabulary.eos_id, allocate, Allocator(scratch))


def _limit(corpus: "TokenStore", options: NgramOptions, run: "FitContext") -> int | None:
    """The memory for an estimation in parts; None if it is done in memory."""
    problem = _needs_memory(options)
    if options.memory is not None:
        if problem:
            raise UsageError(f"--memory builds a model from parts, which cannot use {problem}")
        return memory.size_of(options.memory)
    free = memory.available_memory()
    needed = memory.needed_in_memory(corpus.num_tokens, options, mapped=run.directory is not None)
    if free is None or needed < memory.SHARE * free:
        return None
    about = f"counting this text in memory needs about {needed / 1e9:,.1f} GB, and {free / 1e9:,.1f} GB are available"
    if problem:
        log.warning("%s; parts on disk need less, but cannot use %s", about, problem)
        return None
    log.log(NOTE, "%s: counting in parts on disk (--memory and --scratch choose their size and place)", about)
    return memory.default_limit()


def _needs_memory(options: NgramOptions) -> str | None:
    """The option that parts cannot use, with what to do instead."""
    smoothing = options.smoothing
    if smoothing not in MIXED or not (options.interpolate or smoothing != "kneser-ney"):
        name = f"--smoothing {smoothing}" + (" --no-interpolate" if smoothing == "kneser-ney" else "")
        return f"{name}: use --smoothing {', '.join(MIXED[:-1])} or {MIXED[-1]}"
    return None


def estimate_model(
    corpus: "TokenStore",
    vocabulary: "Vocabulary",
    options: NgramOptions,
    *,
    threads: int = 1,
    allocate: Allocate = in_memory,
) -> tuple[NgramTable, TextIndex | None]:
    """The n-grams of a corpus with their probabilities, and its text if it is stored.

    allocate: creates the returned arrays; all others are in memory. Raises UsageError for a bad --prune.
    """
    prune.check(options)
    counted = count_ngrams(
        corpus.tokens, corpus.num_lines, vocabulary.size, vocabulary.eos_id, options.order,
        continuation=counts_needed(options.smoothing), with_raw=any(prune.thresholds(options)),
        with_index=options.store_text, threads=threads, allocate=allocate,
    )  # fmt: skip
    log.info("counted %s n-grams", " + ".join(f"{size:,}" for size in counted.table.sizes()))
    estimate(counted, options, threads, allocate)
    table = counted.table
    if options.entropy_prune:
        table = entropy_prune(table, options.entropy_prune, vocabulary.eos_id, allocate)
    return table, counted.index
