"""The n-grams of a model as flat arrays: their words, probabilities and links."""

from dataclasses import dataclass

import numpy as np

LAYOUT = (
    ("words", np.int32),
    ("suffixes", np.int32),
    ("children", np.int32),
    ("log_probs", np.float32),
    ("backoffs", np.float32),
)
"""The arrays of a table and their types, in the order in which they are saved."""


@dataclass
class NgramTable:
    """N-grams have ids by order: `offsets[k - 1] .. offsets[k] - 1` are those of k words.

    A unigram's id is its word's; `<s>` is an additional word with the id `vocab_size`, the last unigram. The n-grams
    that extend one n-gram (its children) are adjacent, by ascending word.
    `contexts` = offsets[order - 1] is the number of n-grams that can have children.

    words: (total,) int32, the last word of each n-gram.
    suffixes: (total,) int32, the id of the n-gram without its first word; -1 for unigrams. Always below the id.
    children: (contexts + 1,) int32; those of n-gram i are `children[i] .. children[i + 1] - 1`. Never decreases.
    log_probs: (total,) float32, log10 p(last word | words before); <= 0, -inf for a probability of 0.
    backoffs: (contexts,) float32, log10 of the weight of the shorter context's distribution; may be positive.
    """

    order: int
    vocab_size: int
    offsets: np.ndarray
    words: np.ndarray
    suffixes: np.ndarray
    children: np.ndarray
    log_probs: np.ndarray
    backoffs: np.ndarray

    @property
    def total(self) -> int:
        return int(self.offsets[self.order])

    @property
    def contexts(self) -> int:
        return int(self.offsets[self.order - 1])

    @property
    def start(self) -> int:
        """The id of the unigram `<s>`."""
        return self.vocab_size

    def sizes(self) -> list[int]:
        """The number of n-grams of each order, with `<s>` among the unigrams."""
        return np.diff(self.offsets).tolist()


@dataclass
class TextIndex:
    """The training text and its positions in the order of the words that follow, for counts of any n-gram.

    text: (length,) int32 word ids, `<s>` (= vocab_size) before and `</s>` after each line.
    positions: (length - lines,) int32, all except those of `</s>`, sorted by the following words, to the depth of
    the model's order and up to `</s>`.
    """

    text: np.ndarray
    positions: np.ndarray
