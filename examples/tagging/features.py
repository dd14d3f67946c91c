"""Features of a word without an encoder: itself, its affixes and its neighbours."""

import re
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from treebank import Sentence

AFFIX = 4
"""Characters of the longest prefix and suffix."""

WINDOW = 2
"""Neighbours on each side."""

UNSEEN = 0
"""The id of every feature that the training words do not have."""


class Features:
    """Ids of the features of words, learned from the training sentences."""

    def __init__(self, sentences: Iterable[Sentence]) -> None:
        self.ids: dict[str, int] = {}
        for sentence in sentences:
            for names in described(sentence.words):
                for name in names:
                    self.ids.setdefault(name, len(self.ids) + 1)

    def __call__(self, sentences: Iterable[Sentence]) -> Tensor:
        """(words, features of a word) int64: the same number for each word, UNSEEN among them."""
        rows = (names for sentence in sentences for names in described(sentence.words))
        return torch.tensor([[self.ids.get(name, UNSEEN) for name in names] for names in rows])


def described(words: Sequence[str]) -> list[list[str]]:
    """The features of each word of a sentence, by name."""
    lower = [word.lower() for word in words]
    padded = ["<s>"] * WINDOW + lower + ["</s>"] * WINDOW
    rows = []
    for place, word in enumerate(words):
        row = [f"word {word}", f"lower {lower[place]}", f"shape {shape(word)}"]
        for length in range(1, AFFIX + 1):
            row += [f"prefix {length} {lower[place][:length]}", f"suffix {length} {lower[place][-length:]}"]
        around = padded[place : place + WINDOW] + padded[place + WINDOW + 1 : place + 2 * WINDOW + 1]
        rows.append(row + [f"beside {slot} {neighbour}" for slot, neighbour in enumerate(around)])
    return rows


def shape(word: str) -> str:
    """Capitals as X, other letters as x, digits as 0, each run as one: "McDonald's" gives "XxXx'x"."""
    kinds = ("X" if c.isupper() else "x" if c.isalpha() else "0" if c.isdigit() else c for c in word)
    return re.sub(r"(.)\1+", r"\1", "".join(kinds))
