"""Estimate a model from a text: count, smooth, prune."""

import logging
from typing import TYPE_CHECKING

from lmkit_ngram import prune
from lmkit_ngram.count import Allocate, count_ngrams, in_memory
from lmkit_ngram.entropy import entropy_prune
from lmkit_ngram.options import NgramOptions
from lmkit_ngram.smoothing import counts_needed, estimate
from lmkit_ngram.table import NgramTable, TextIndex

if TYPE_CHECKING:
    from lmkit.contracts import Vocabulary
    from lmkit.corpus.store import TokenStore

log = logging.getLogger(__name__)


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
