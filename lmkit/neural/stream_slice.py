"""The slice of the streams that this process computes in a training step, if several processes share the streams.

Every process draws random numbers from the same state for all streams, then takes the rows of its own, so that the
masks of dropout do not depend on the number of processes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from lmkit.corpus.streams import Window


@dataclass(frozen=True)
class StreamSlice:
    """rows: the streams of this process. window: that of all streams."""

    rows: slice
    window: Window


_slice: StreamSlice | None = None
"""That of the step being computed; None if this process computes all streams."""


@contextmanager
def computing(own: StreamSlice) -> Iterator[None]:
    """Inside the block, this process computes a slice of the streams."""
    global _slice
    before, _slice = _slice, own
    try:
        yield
    finally:
        _slice = before


def whole_window(window: Window) -> Window:
    """The window of all processes, of which `window` has the streams of this one."""
    return window if _slice is None else _slice.window


def dropout(x: Tensor, rate: float, rows_dim: int) -> Tensor:
    """`F.dropout` of x, whose dimension `rows_dim` is the streams of this process."""
    if _slice is None:
        return F.dropout(x, rate)
    shape = list(x.shape)
    shape[rows_dim] = len(_slice.window.targets)
    # Drawn in the order in which x lies in memory; a single stream shows none, and is then taken to be within the time.
    order = sorted(range(x.dim()), key=lambda dim: (-x.stride(dim), x.shape[dim] == 1))
    ones = x.new_ones([shape[dim] for dim in order]).permute([order.index(dim) for dim in range(x.dim())])
    return x * F.dropout(ones, rate)[(slice(None),) * rows_dim + (_slice.rows,)]
