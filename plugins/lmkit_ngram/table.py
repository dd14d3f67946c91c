"""The n-grams of a model as flat arrays: their words, probabilities and links."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lmkit.specs import MOST_IDS

ARRAYS = ("words", "suffixes", "children", "log_probs", "backoffs")
"""The arrays of a table, in the order in which they are saved."""
Allocate = Callable[[str, int, type[np.generic]], np.ndarray]
"""Creates an array by its name, length and type: in memory, or mapped to a file."""
Link = type[np.int32] | type[np.int64]
"""The type of an id of an n-gram in a table."""


def link_type(total: int) -> Link:
    """The type of the ids of this many n-grams."""
    return np.int32 if total <= MOST_IDS else np.int64


def layout(link: Link) -> dict[str, type[np.generic]]:
    """The types of the arrays of a table with links of this type."""
    types = (np.int32, link, link, np.float32, np.float32)
    return dict(zip(ARRAYS, types, strict=True))


@dataclass
class NgramTable:
    """N-grams have ids by order: `offsets[k - 1] .. offsets[k] - 1` are those of k words.

    A unigram's id is its word's; `<s>` is an additional word with the id `vocab_size`, the last unigram. The n-grams
    that extend one n-gram (its children) are adjacent, by ascending word.
    `contexts` = offsets[order - 1] is the number of n-grams that can have children. Ids in arrays,
    the links, are int32, and int64 in a table of more than MOST_IDS n-grams.

    words: (total,) int32, the last word of each n-gram.
    suffixes: (total,) links, the id of the n-gram without its first word; -1 for unigrams. Always below the id.
    children: (contexts + 1,) links; those of n-gram i are `children[i] .. children[i + 1] - 1`. Never decreases.
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

    @classmethod
    def allocated(cls, vocab_size: int, offsets: np.ndarray, allocate: Allocate) -> "NgramTable":
        """A table with room for the n-grams of these offsets; words and suffixes of the unigrams are filled in."""
        order, total, contexts = len(offsets) - 1, int(offsets[-1]), int(offsets[-2])
        lengths = {"children": contexts + 1, "backoffs": contexts}
        types = layout(link_type(total))
        arrays = {name: allocate(name, lengths.get(name, total), dtype) for name, dtype in types.items()}
        table = cls(order, vocab_size, offsets, **arrays)
        table.words[: vocab_size + 1] = np.arange(vocab_size + 1)
        table.suffixes[: vocab_size + 1] = -1
        table.children[contexts] = total
        return table

    @property
    def link(self) -> Link:
        return np.int32 if self.children.dtype == np.int32 else np.int64

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
