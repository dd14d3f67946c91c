"""Dropout of activations, whole words and recurrent weights."""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmkit.neural.stream_slice import dropout
from lmkit.recurrence.cells import Cell
from lmkit.recurrence.projection import ProjectedCell, as_gated
from lmkit.states import State


def drop(x: Tensor, rate: float, *, rows_dim: int = 0, locked_dim: int | None = None) -> Tensor:
    """x with a share `rate` of its elements at 0 and the others scaled up to keep the mean.

    rows_dim: the dimension of the streams, of which several processes have a slice each.
    locked_dim: the dimension of time, along which one mask holds (Gal and Ghahramani, 2016, arXiv:1512.05287).
    """
    if rate == 0:
        return x
    if locked_dim is None:
        return dropout(x, rate, rows_dim)
    shape = [1 if dim == locked_dim else size for dim, size in enumerate(x.shape)]
    return x * dropout(x.new_ones(shape), rate, rows_dim)


def drop_words(vectors: Tensor, ids: Tensor, size: int, rate: float) -> Tensor:
    """The vectors (..., width) of ids, with a share `rate` of all words dropped wherever they stand.

    One draw a word and window (Merity et al., 2018, arXiv:1708.02182). ids lie below `size`.
    """
    if rate == 0:
        return vectors
    return vectors * F.dropout(vectors.new_ones(size), rate)[ids][..., None]


def sequence_with_dropped_weight(
    cell: Cell, rate: float, xs: Tensor, state: State, resets: Tensor | None
) -> tuple[Tensor, State]:
    """`cell.sequence` with a share `rate` of W_hh dropped, one draw for the whole window.

    Merity et al. (2018), arXiv:1708.02182: no step need know, so that every fast way through a sequence still holds.
    """
    name = "inner.cell.weight_hh" if isinstance(cell, ProjectedCell) else "inner.weight_hh"
    gated = cell.cell if isinstance(cell, ProjectedCell) else cell
    weight = F.dropout(cast(Tensor, gated.weight_hh), rate)
    return torch.func.functional_call(_Sequence(cell), {name: weight}, (xs, state, resets))


def check_weight_drop(cell: Cell) -> None:
    """UsageError unless the cell has a W_hh that can be dropped."""
    as_gated(cell.cell if isinstance(cell, ProjectedCell) else cell, "weight drop", "--weight-drop")


class _Sequence(nn.Module):
    """A cell's `run` as a forward, which `functional_call` can reach."""

    def __init__(self, inner: Cell) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, xs: Tensor, state: State, resets: Tensor | None) -> tuple[Tensor, State]:
        return self.inner.run(xs, state, resets)
