"""A window of a gated cell, by each of the tiers that lmkit.recurrence.tiers chooses from."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from lmkit.neural.linear import linear
from lmkit.neural.products import FixedProduct
from lmkit.recurrence.linear_scan import reset_steps
from lmkit.recurrence.steps import walk
from lmkit.states import State

if TYPE_CHECKING:
    from lmkit.recurrence.cells import Cell, GatedCell
    from lmkit.recurrence.kernels import StepKernels

UNROLL = 512
"""Input products are hoisted out of the loop for at most so many steps at once, which bounds their memory."""

Tensors = tuple[Tensor, ...]
Product = Callable[[Tensor], Tensor]


class GatedStep:
    """The step of a gated cell from W_ih x + b_ih, with its other products made once.

    make: gives x -> W x + b for a W and a b, in the layout and by the library that suit the caller.
    """

    def __init__(self, cell: "GatedCell", make: Callable[[Tensor, Tensor | None], Product]) -> None:
        self.cell = cell
        self.recurrent = make(cell.weight_hh, cell.bias_hh) if cell.recurrent else None
        self.projection = cell.projection()
        self.project = None if self.projection is None else make(self.projection.weight, None)

    def __call__(self, x: Tensor, state: State) -> tuple[Tensor, Tensors]:
        """The output and the new state; x: (batch, gates)."""
        before = cast(Tensors, state)
        h = None if self.recurrent is None else self.recurrent(before[0])
        if self.projection is None or self.project is None:
            new = self.cell.new_state(x, h, before)
        else:
            inner = self.cell.new_state(x, h, before[1:])
            new = (self.projection.clipped(self.project(inner[0])), *inner)
        return new[0], new


def plain_product(weight: Tensor, bias: Tensor | None) -> Product:
    """x -> weight x + bias by torch, with nothing prepared: for a single step."""
    return partial(F.linear, weight=weight, bias=bias)


def each_step(
    cell: "Cell",
    step: Callable[[Tensor, State], tuple[Tensor, State]],
    xs: Tensor,
    state: State,
    resets: Tensor | None,
) -> tuple[Tensor, State]:
    """ys (time, batch, output_size) and the last state, from `step` for each of xs (time, batch, features)."""
    ys = []
    at = reset_steps(resets)
    for t, x in enumerate(xs.unbind(0)):
        if t in at:
            state = cell.reset(state, resets, t)
        y, state = step(x, state)
        ys.append(y)
    return (torch.stack(ys) if ys else xs.new_zeros(0, xs.shape[1], cell.output_size)), state


def torch_window(
    cell: "GatedCell", xs: Tensor, state: Tensors, resets: Tensor | None
) -> tuple[Tensor, Tensors]:
    """The same by torch's own kernel (oneDNN, cuDNN) of the cell.

    It knows no resets, so that it runs from one step with a reset to the next.
    """
    kernel = cell.torch_kernel()
    assert kernel is not None
    weights = [cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh]
    at = reset_steps(resets)
    ys = []
    for first, end in pairwise(sorted({0, *at, len(xs)})):
        if first in at:
            state = cast(Tensors, cell.reset(state, resets, first))
        before = [part[None].contiguous() for part in state]
        # Positional arguments: has_biases, num_layers, dropout, train, bidirectional, batch_first.
        y, *after = kernel(
            xs[first:end],
            before if len(before) > 1 else before[0],
            weights,
            *(True, 1, 0.0, cell.training, False, False),
        )
        ys.append(y)
        state = tuple(part[0] for part in after)
    return (torch.cat(ys) if len(ys) > 1 else ys[0]), state


def compiled_window(
    cell: "GatedCell", xs: Tensor, state: Tensors, resets: Tensor | None, kernels: "StepKernels"
) -> tuple[Tensor, Tensors]:
    """The same by the kernels of a step."""
    named = dict(cell.named_parameters()) | dict(cell.named_buffers())
    inputs = (cell.weight_ih, cell.bias_ih)
    recurrent = (cell.weight_hh, cell.bias_hh) if cell.recurrent else ()
    own = tuple(named[name] for name in kernels.own)
    initial = () if resets is None else cast(Tensors, cell.initial_state(xs.shape[1]))
    ys = []
    for first in range(0, len(xs), UNROLL):
        part = slice(first, first + UNROLL)
        some = None if resets is None else resets[part]
        y, state = walk(kernels, xs[part], inputs, recurrent, cell.projection(), state, own, some, initial)
        ys.append(y)
    return (torch.cat(ys) if len(ys) > 1 else ys[0]), state


def loop_window(
    cell: "GatedCell", xs: Tensor, state: Tensors, resets: Tensor | None
) -> tuple[Tensor, Tensors]:
    """The same by steps of torch's operations, which takes any `gates`."""
    rows = xs.shape[1]
    step = GatedStep(cell, lambda weight, bias: FixedProduct(weight, bias, rows))
    ys = []
    for first in range(0, len(xs), UNROLL):
        part = slice(first, first + UNROLL)
        inputs = linear(xs[part], cell.weight_ih, cell.bias_ih, may_copy=False)
        some = None if resets is None else resets[part]
        y, after = each_step(cell, step, inputs, state, some)
        state = cast(Tensors, after)
        ys.append(y)
    return (torch.cat(ys) if len(ys) > 1 else ys[0]), state
