"""Lines as the causal model of each direction reads them."""

from collections.abc import Iterable, Iterator

import numpy as np

from lmkit.contracts import BACKWARD, FORWARD
from lmkit.scoring.stream import Sentence

__all__ = ["BACKWARD", "FORWARD", "from_the_end", "in_direction"]


def from_the_end(rows: np.ndarray) -> np.ndarray:
    """What a line's tokens have, from its end, `</s>` still last; twice, it is as it was."""
    return np.concatenate([rows[:-1][::-1], rows[-1:]])


def in_direction(lines: Iterable[Sentence], direction: str) -> Iterator[Sentence]:
    """The lines as the model of a direction reads them."""
    if direction == FORWARD:
        return iter(lines)
    return (Sentence(from_the_end(line.ids), line.starts_document) for line in lines)
