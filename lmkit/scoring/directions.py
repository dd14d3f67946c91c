"""Arrange lines for the causal model of each direction."""

from collections.abc import Iterable, Iterator

import numpy as np

from lmkit.contracts import BACKWARD, FORWARD
from lmkit.scoring.stream import Sentence

__all__ = ["BACKWARD", "FORWARD", "from_the_end", "in_direction"]


def from_the_end(rows: np.ndarray) -> np.ndarray:
    """Reverse an array over a line's tokens, with `</s>` still last; twice gives the original."""
    return np.concatenate([rows[:-1][::-1], rows[-1:]])


def in_direction(lines: Iterable[Sentence], direction: str) -> Iterator[Sentence]:
    """The lines in the order of a direction."""
    if direction == FORWARD:
        return iter(lines)
    return (Sentence(from_the_end(line.ids), line.starts_document) for line in lines)
