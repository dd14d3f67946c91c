"""Run one step of a cell without gradients, for generation."""

from functools import partial
from typing import cast

from torch import Tensor

from lmkit.neural.linear import linear
from lmkit.recurrence.cells import Cell, GatedCell
from lmkit.recurrence.engine import GatedStep
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
    gated = cast(GatedCell, cell)
    products = GatedStep(gated, lambda weight, bias: partial(linear, weight=weight, bias=bias))
    return products(linear(x, gated.weight_ih, gated.bias_ih), state)
