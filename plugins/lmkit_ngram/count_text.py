"""Count the n-grams of one order in a text of any size, in parts on disk."""

import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from lmkit_ngram import memory as memories
from lmkit_ngram.options import NgramOptions
from lmkit_ngram.part_count import Rows, counted_parts, split
from lmkit_ngram.part_plan import make_plan
from lmkit_ngram.part_scratch import scratch_folder

if TYPE_CHECKING:
    from lmkit.contracts import Progress, Vocabulary
    from lmkit.corpus.store import TokenStore

Block = tuple[np.ndarray, np.ndarray]
"""(number, order) int32 ids, and (number,) int32 counts."""


def count_text(
    corpus: "TokenStore",
    vocabulary: "Vocabulary",
    order: int,
    least: int,
    *,
    boundaries: bool,
    memory: str | None,
    scratch: str | None,
    progress: "Progress",
) -> Iterator[Block]:
    """The n-grams of exactly `order` words that occur at least `least` times, in no particular order.

    boundaries: also those with `<s>` (the id vocabulary.size) or `</s>`. memory: as for training; by default, most of
    what is available. Raises UsageError if it is too little, DataError if there is no room for the parts.
    """
    for ids, counts in _blocks(corpus, vocabulary, order, memory, scratch, progress):
        chosen = counts >= least
        if not boundaries:
            chosen &= (ids[:, 0] != vocabulary.size) & (ids[:, -1] != vocabulary.eos_id)
        yield ids[chosen], counts[chosen]


def _blocks(
    corpus: "TokenStore",
    vocabulary: "Vocabulary",
    order: int,
    memory: str | None,
    scratch: str | None,
    progress: "Progress",
) -> Iterator[Block]:
    word_counts = corpus.counts(vocabulary.size)
    if order == 1:
        words = np.flatnonzero(word_counts)
        yield words.astype(np.int32)[:, None], word_counts[words].astype(np.int32)
        return
    limit = memories.default_limit() if memory is None else memories.size_of(memory)
    most = memories.windows_within(limit, NgramOptions(order=order), vocabulary.size)
    word_counts[vocabulary.eos_id] = 0  # no context
    plan = make_plan(word_counts, order, most)
    need = 4 * order * corpus.num_tokens  # windows
    with scratch_folder(scratch or tempfile.gettempdir(), need) as folder:
        starts = split(corpus, vocabulary, order, plan, folder, progress)
        if order == 2:
            words = np.flatnonzero(starts)
            yield (
                np.stack([np.full(len(words), vocabulary.size), words], 1).astype(np.int32),
                starts[words].astype(np.int32),
            )
        for _, rows in counted_parts(vocabulary, order, plan, folder, progress):
            yield _whole(rows)


def _whole(rows: Rows) -> Block:
    """The windows that have all words, in the order of the text."""
    whole = rows.spans >> 8 == rows.rows.shape[1]
    found = rows.rows[whole] - 1
    # A row begins with the last two words; the others follow from right to left.
    return np.concatenate([found[:, :1:-1], found[:, :2]], 1), rows.counts[whole]
