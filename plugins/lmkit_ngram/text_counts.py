"""Count any number of consecutive words in a stored text; check the ids that a model is asked about."""

from collections.abc import Sequence

import numpy as np

from lmkit.contracts import Vocabulary
from lmkit.errors import UsageError
from lmkit.jit import kernel
from lmkit_ngram.queries import as_text, count_ngram
from lmkit_ngram.table import TextIndex


def checked_ids(ids: np.ndarray, vocabulary: Vocabulary, *, start: bool = False) -> np.ndarray:
    """int32 ids; UsageError if one is not in the vocabulary. start: `<s>` is allowed."""
    size = vocabulary.size + start
    words = np.ascontiguousarray(ids, np.int32)
    # The kernel is several times as fast for the ids of one sentence.
    if not (
        all_below(words.ravel(), size) if words is ids else not ids.size or 0 <= ids.min() <= ids.max() < size
    ):
        raise UsageError(
            f"the ids {ids.min()} to {ids.max()} are outside the vocabulary of {vocabulary.size:,}: "
            "use ids from the model's own tokenizer"
        )
    return words


@kernel
def all_below(ids: np.ndarray, size: int) -> bool:
    """Whether all ids (int32) are from 0 to size - 1."""
    most = np.uint32(0)
    for id_ in ids:
        most = max(most, np.uint32(id_))  # as unsigned numbers, negative ones are the largest
    return bool(len(ids) == 0 or most < size)


def count_words(index: TextIndex, ids: Sequence[int], vocabulary: Vocabulary, depth: int) -> int:
    """The count of consecutive words in a text, or DAMAGED; without ids, the number of tokens.

    ids: `<s>`, which is vocabulary.size, may come first, and `</s>` last. depth: the words to which the positions are
    sorted. Raises UsageError for invalid ids.
    """
    words = checked_ids(np.array(ids, np.int64), vocabulary, start=True)
    text, positions = as_text(index)
    if not len(words):
        return len(positions)
    if vocabulary.size in words[1:] or vocabulary.eos_id in words[:-1]:
        return 0  # no n-gram crosses a line
    if words[0] == vocabulary.eos_id:
        return len(text) - len(positions)
    return count_ngram(text, positions, words, depth)
