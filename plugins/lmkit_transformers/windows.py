"""Cut texts into the windows that a model with a limited context reads, wherever they are cut into calls.

A text keeps its tokens until they fill the context; then all but the latest half are dropped, and it goes on. So what
a token is predicted from depends only on its place in the text: a sliding window with a stride of half the context.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np


@dataclass(frozen=True)
class Window:
    """What a model reads at once: `inputs`, the last `count` of which predict the tokens from `first` on of a row."""

    row: int
    first: int
    count: int
    inputs: np.ndarray


def kept(context: int) -> int:
    """The number of tokens that stay when the context is full."""
    return context // 2


def extended(history: np.ndarray, ids: np.ndarray, context: int) -> np.ndarray:
    """The history of a text after more tokens, which overfill the context by at most one."""
    history = np.concatenate([history, ids])
    return history if len(history) <= context else history[-kept(context) - 1 :]


def cut(
    ids: np.ndarray,
    histories: Sequence[np.ndarray],
    reset: np.ndarray | None,
    begin: int,
    context: int,
) -> tuple[list[Window], list[np.ndarray]]:
    """The windows that predict ids (rows, time), and the history of each row after them.

    histories: the tokens before, of each row; an empty one predicts from `begin`, which is then forgotten. reset:
    (rows, time) before which tokens a new text begins, whose history is `begin`.
    """
    windows, after = [], []
    for row, history in enumerate(histories):
        for first, last, starts in _texts(len(ids[row]), None if reset is None else reset[row]):
            history = np.array([begin]) if starts else history
            while first < last:
                read = history if len(history) else np.array([begin])
                count = min(context - len(read) + 1, last - first) if len(history) else 1
                inputs = np.concatenate([read, ids[row, first : first + count - 1]])
                windows.append(Window(row, first, count, inputs))
                history = extended(history, ids[row, first : first + count], context)
                first += count
        after.append(history)
    return windows, after


def _texts(time: int, reset: np.ndarray | None) -> Iterator[tuple[int, int, bool]]:
    """The parts [first, last) of a row between resets, and whether a new text begins there."""
    starts = [] if reset is None else np.flatnonzero(reset).tolist()
    bounds = [0, *(place for place in starts if place), time]
    for first, last in pairwise(bounds):
        yield first, last, first in starts
