"""Run a window of a gated cell by the tier that suits it: torch's kernel, compiled steps or a loop."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from lmkit.host_copies import derive
from lmkit.neural.linear import linear
from lmkit.neural.products import FixedProduct
from lmkit.recurrence import tiers
from lmkit.recurrence.gpu.kernel import WindowKernel
from lmkit.recurrence.gpu.run import run_window
from lmkit.recurrence.interfaces import AnyCell, Gated
from lmkit.recurrence.kernels import StepKernels
from lmkit.recurrence.linear_scan import reset_steps
from lmkit.recurrence.steps import run_steps
from lmkit.recurrence.torch_window import torch_window
from lmkit.recurrence.window import Weights, Window
from lmkit.states import State

STEPS_AT_ONCE = 512
"""The products of all inputs are made for at most this many steps at once, which bounds their memory."""

Tensors = tuple[Tensor, ...]
Product = Callable[[Tensor], Tensor]


def run_gated(cell: Gated, xs: Tensor, state: State, resets: Tensor | None) -> tuple[Tensor, State]:
    """ys (time, batch, output_size) and the last state, from xs (time, batch, input_size), by the cell's tier.

    resets: (time, batch) bool; `resets[t, b]` puts row b at the initial state before step t.
    """
    if len(xs) == 0:
        return xs.new_zeros(0, xs.shape[1], cell.output_size), state
    tier = tiers.pick(cell, xs, resets)
    tiers.announce(cell, tier)
    before = cast(Tensors, state)
    if tier == "torch":
        ys, (after,) = torch_window([cell], xs, [before], resets)
        return ys, after
    if tier == "compiled" and (kernel := tiers.window_kernel_for(cell, xs, partial(kernel_window, cell))):
        return kernel_window(cell, kernel, xs, before, resets)
    inner = before if cell.projection() is None else before[1:]
    if tier == "compiled" and (kernels := tiers.kernels_for(cell, xs, inner)):
        return compiled_window(cell, xs, before, resets, kernels)
    if tier in ("compiled", "loop"):
        return loop_window(cell, xs, before, resets)
    return each_step(cell, cell, xs, state, resets)


class GatedStep:
    """The step of a gated cell from W_ih x + b_ih, with its other weights prepared once.

    make: from W and b the function x -> W x + b, in the layout and by the library that suit the caller.
    """

    def __init__(self, cell: Gated, make: Callable[[Tensor, Tensor | None], Product]) -> None:
        self.cell = cell
        self.recurrent = make(cell.weight_hh, cell.bias_hh) if cell.recurrent else None
        self.projection = cell.projection()
        self.project = None if self.projection is None else make(self.projection.weight, None)

    def __call__(self, x: Tensor, state: State) -> tuple[Tensor, Tensors]:
        """The output and the new state; x: (batch, num_gates * hidden_size)."""
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
    cell: AnyCell,
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


def compiled_window(
    cell: Gated, xs: Tensor, state: Tensors, resets: Tensor | None, kernels: StepKernels
) -> tuple[Tensor, Tensors]:
    """`run_gated` by the compiled kernels of a step."""
    projection = cell.projection()
    clip = None if projection is None else projection.clip

    def run(xs: Tensor, state: Tensors, resets: Tensor | None) -> tuple[Tensor, Tensors]:
        return run_steps(kernels, _window(cell, xs, state, kernels.own, resets), clip, resets)

    return _some_at_once(run, xs, state, resets)


def kernel_window(
    cell: Gated, kernel: WindowKernel, xs: Tensor, state: Tensors, resets: Tensor | None
) -> tuple[Tensor, Tensors]:
    """`run_gated` by one kernel for a window."""

    def run(xs: Tensor, state: Tensors, resets: Tensor | None) -> tuple[Tensor, Tensors]:
        return run_window(kernel, cell, _window(cell, xs, state, kernel.own, resets), resets)

    return _some_at_once(run, xs, state, resets)


def _window(cell: Gated, xs: Tensor, state: Tensors, own: Sequence[str], resets: Tensor | None) -> Window:
    """All that may have a gradient; own: the names of what `gates` uses."""
    named = dict(cell.named_parameters()) | dict(cell.named_buffers())
    projection = cell.projection()
    weights = Weights(
        cell.weight_ih,
        cell.bias_ih,
        cell.weight_hh if cell.recurrent else None,
        cell.bias_hh if cell.recurrent else None,
        None if projection is None else projection.weight,
    )
    initial = () if resets is None else cell.initial_state(xs.shape[1])
    return Window(xs, weights, state, [named[name] for name in own], initial)


def loop_window(cell: Gated, xs: Tensor, state: Tensors, resets: Tensor | None) -> tuple[Tensor, Tensors]:
    """`run_gated` by steps of torch's operations, for any `gates`."""
    rows = xs.shape[1]
    step = GatedStep(cell, lambda weight, bias: FixedProduct(weight, bias, rows))

    def run(xs: Tensor, state: Tensors, resets: Tensor | None) -> tuple[Tensor, Tensors]:
        inputs = linear(xs, cell.weight_ih, cell.bias_ih, may_copy=False)
        ys, after = each_step(cell, step, inputs, state, resets)
        return ys, cast(Tensors, after)

    return _some_at_once(run, xs, state, resets)


def _some_at_once(
    run: Callable[[Tensor, Tensors, Tensor | None], tuple[Tensor, Tensors]],
    xs: Tensor,
    state: Tensors,
    resets: Tensor | None,
) -> tuple[Tensor, Tensors]:
    """ys and the last state, by calls of `run` for at most STEPS_AT_ONCE steps each."""
    parts = []
    for first in range(0, len(xs), STEPS_AT_ONCE):
        part = slice(first, first + STEPS_AT_ONCE)
        ys, state = run(xs[part], state, _part(resets, part))
        parts.append(ys)
    return (torch.cat(parts) if len(parts) > 1 else parts[0]), state


def _part(resets: Tensor | None, steps: slice) -> Tensor | None:
    return None if resets is None else derive(lambda mask: mask[steps], resets)
