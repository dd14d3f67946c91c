"""Spell words like the original ELMo: rows of fifty character ids, from the bytes of UTF-8.

Peters et al., 2018, arXiv:1802.05365, after Jozefowicz et al., 2016, arXiv:1602.02410. The ids are those of the
published models plus one, so that 0 is the mask, whose vector is zero.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

LENGTH = 50
"""Ids of a word: its start mark, at most 48 bytes, its end mark, and padding."""
MOST_BYTES = LENGTH - 2

# Bytes are 1 to 256.
BOS, EOS, BEGIN, END, PAD = 257, 258, 259, 260, 261
NUM_CHARACTERS = 262
"""The number of ids, including the mask."""


def spelling(word: str) -> bytes:
    """The part of a word that is read: its first 48 bytes; lone surrogates have none."""
    return word.encode(errors="ignore")[:MOST_BYTES]


def spelled(words: Sequence[str]) -> Tensor:
    """(words, 50) int64 ids."""
    return rows_of([spelling(word) for word in words])


def rows_of(spellings: Sequence[bytes]) -> Tensor:
    """(words, 50) int64 ids of results of `spelling`."""
    lengths = np.fromiter(map(len, spellings), np.int64, len(spellings))
    rows = np.full((len(spellings), LENGTH), PAD, np.int64)
    rows[:, 0] = BEGIN
    rows[np.arange(len(spellings)), lengths + 1] = END
    inside = np.arange(MOST_BYTES) < lengths[:, None]
    # A mask is filled row by row, the order of the bytes.
    rows[:, 1:-1][inside] = np.frombuffer(b"".join(spellings), np.uint8).astype(np.int64) + 1
    return torch.from_numpy(rows)


def _boundary(character: int) -> Tensor:
    row = torch.full((LENGTH,), PAD)
    row[:3] = torch.tensor([BEGIN, character, END])
    return row


BOS_ROW = _boundary(BOS)
"""(50,) the original's spelling of the boundary before a sentence."""
EOS_ROW = _boundary(EOS)
"""(50,) the original's spelling of the boundary after a sentence."""


def occupied(rows: Tensor) -> Tensor:
    """(words,) the number of ids of each row (words, 50) that are not padding."""
    return (rows != PAD).sum(1)
