"""One step of a cell without gradients, as generation takes it."""

from typing import cast

from torch import Tensor

from lmkit.recurrence.cells import Cell, GatedCell
from lmkit.recurrence.linear import linear
from lmkit.recurrence.projection import owns_products
from lmkit.states import State


def step(cell: Cell, x: Tensor, state: State) -> tuple[Tensor, State]:
    """y (batch, output_size) and the state after x (batch, input_size).

    `sequence` may prepare its weights for many steps at once (a transpose, a layout for oneDNN), which for a
    single one costs as much as the step.
    """
    if not owns_products(cell):
        ys, state = cell.sequence(x[None], state)
        return ys[0], state
    gated, before = cast(GatedCell, cell), cast(tuple[Tensor, ...], state)
    h = linear(before[0], gated.weight_hh, gated.bias_hh) if gated.recurrent else None
    new = gated.new_state(linear(x, gated.weight_ih, gated.bias_ih), h, before)
    return new[0], new
