"""A window of a gated cell, by each of the tiers that lmkit.recurrence.tiers chooses from."""

from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from lmkit.recurrence.linear_scan import reset_steps
from lmkit.recurrence.products import FixedProduct, suits_onednn
from lmkit.recurrence.steps import walk

if TYPE_CHECKING:
    from lmkit.recurrence.cells import GatedCell
    from lmkit.recurrence.kernels import StepKernels

UNROLL = 512
"""Input products are hoisted out of the loop for at most so many steps at once, which bounds their memory."""

Tensors = tuple[Tensor, ...]


def torch_window(
    cell: "GatedCell", xs: Tensor, state: Tensors, resets: Tensor | None
) -> tuple[Tensor, Tensors]:
    """ys (time, batch, hidden_size) and the last state, by torch's own kernel (oneDNN, cuDNN) of the cell.

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
    initial = () if resets is None else tuple(cell.initial_state(xs.shape[1]))
    ys = []
    for first in range(0, len(xs), UNROLL):
        part = slice(first, first + UNROLL)
        some = None if resets is None else resets[part]
        y, state = walk(kernels, xs[part], inputs, recurrent, state, own, some, initial)
        ys.append(y)
    return (torch.cat(ys) if len(ys) > 1 else ys[0]), state


def loop_window(
    cell: "GatedCell", xs: Tensor, state: Tensors, resets: Tensor | None
) -> tuple[Tensor, Tensors]:
    """The same by steps of torch's operations, which takes any `gates`."""
    ys = []
    at = reset_steps(resets)
    product = _recurrent_product(cell, xs)
    for first in range(0, len(xs), UNROLL):
        products = F.linear(xs[first : first + UNROLL], cell.weight_ih, cell.bias_ih)
        for t, x in enumerate(products.unbind(0), start=first):
            if t in at:
                state = cast(Tensors, cell.reset(state, resets, t))
            state = cell.new_state(x, product(state[0]), state)
            ys.append(state[0])
    return torch.stack(ys), state


def _recurrent_product(cell: "GatedCell", xs: Tensor) -> Callable[[Tensor], Tensor | None]:
    """W_hh h + b_hh as a function of h, its matrix laid out once for the whole window."""
    if not cell.recurrent:
        return lambda h: None
    weight, bias = cell.weight_hh, cell.bias_hh
    if not torch.is_grad_enabled() and suits_onednn(weight):
        product = FixedProduct(weight, xs.shape[1])
        return lambda h: product(h).add_(bias)
    transposed = weight.t().contiguous()
    return lambda h: torch.addmm(bias, h, transposed)
