"""Run a gated cell through a window by one kernel each way, as one node of the autograd graph.

As in `steps.py`, one product makes x = W_ih input + b_ih of all steps before, and one product for each matrix follows
after from the gradients of x and h of all steps. Here the gradients of parameters inside `gates` follow after too, from
one step of all rows of all steps.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lmkit.host_copies import derive
from lmkit.neural.linear import linear
from lmkit.neural.products import input_gradient, weight_gradient
from lmkit.recurrence.gpu.kernel import WindowKernel
from lmkit.recurrence.interfaces import Gated
from lmkit.recurrence.kernels import StepInputs
from lmkit.recurrence.tracing import Step
from lmkit.recurrence.window import Weights, Window, chosen, parted

Tensors = tuple[Tensor, ...]


def run_window(
    kernel: WindowKernel, cell: Gated, window: Window, resets: Tensor | None = None
) -> tuple[Tensor, Tensors]:
    """ys (time, batch, hidden_size) and the last state. resets: (time, batch) bool, with `window.initial`."""
    groups = window.groups()
    tensors = [None if t is None else t.contiguous() for group in groups for t in group]
    resets = None if resets is None else derive(Tensor.contiguous, resets)
    settings = (kernel, cell, [len(group) for group in groups])
    ys, *last = _Walk.apply(*settings, resets, *tensors)  # pyright: ignore
    return ys, tuple(last)


_XS = 4
"""The place of xs among the arguments of `_Walk`; those before it have no gradient."""


class _Walk(torch.autograd.Function):
    """A window as a function of its tensors, in the order of Window; lengths: how many each field has."""

    @staticmethod
    def forward(
        ctx: Any,
        kernel: WindowKernel,
        cell: Gated,
        lengths: list[int],
        resets: Tensor | None,
        *tensors: Tensor,
    ) -> Any:
        window, layout = Window.of(parted(tensors, lengths)), kernel.layout
        bias, bias_hh = window.weights.bias_ih, window.weights.bias_hh
        if layout.summed and bias_hh is not None:
            bias = bias + bias_hh
        x = linear(window.xs, window.weights.weight_ih, bias, may_copy=False).contiguous()
        kept = x.new_zeros(x.shape if layout.recurrent else (0,), dtype=torch.float32)
        states = [s.new_empty(len(x) + 1, *s.shape, dtype=torch.float32) for s in window.state]
        for part, first in zip(states, window.state, strict=True):
            part[0] = first
        given = {"x": x, "kept": kept, **_numbered(state=states, initial=window.initial or window.state)}
        kernel.launch(False, window, given, resets)
        ctx.kernel, ctx.cell, ctx.lengths = kernel, cell, [*lengths, len(states)]
        ctx.save_for_backward(resets, x, kept, *tensors, *states)
        ctx.set_materialize_grads(False)
        last = (part[-1].to(s.dtype, copy=True) for part, s in zip(states, window.state, strict=True))
        return (states[0][1:].to(window.xs.dtype), *last)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_ys: Tensor | None, *d_last: Tensor | None) -> tuple[Tensor | None, ...]:  # pyright: ignore
        kernel, layout, (resets, x, kept, *tensors) = ctx.kernel, ctx.kernel.layout, ctx.saved_tensors
        *groups, states = parted(tensors, ctx.lengths)
        window = Window.of(groups)
        ends = [
            torch.zeros_like(s) if d is None else d.contiguous()
            for s, d in zip(window.state, d_last, strict=True)
        ]
        d_x = torch.empty_like(x)
        d_h = torch.empty_like(x) if layout.separate else d_x
        d_state = [torch.empty_like(part[0]) for part in states]
        d_initial = [torch.empty_like(d) for d in d_state]
        d_new = [torch.empty_like(part[1:]) for part in states] if layout.trained else []
        given = {
            "x": x,
            "kept": kept,
            "d_x": d_x,
            "d_h": d_h,
            "d_ys": torch.zeros_like(states[0][1:]) if d_ys is None else d_ys.contiguous(),
            **_numbered(state=states, initial=window.initial or window.state, last=ends),
            **_numbered(d_start=d_state, d_initial=d_initial, d_new=d_new),
        }
        kernel.launch(True, window, given, resets)
        before = [part[:-1] for part in states]
        if resets is not None:
            before = [chosen(resets, i.float(), b) for i, b in zip(window.initial, before, strict=True)]
        # In the order of Window.
        return (
            *[None] * _XS,
            input_gradient(d_x, window.weights.weight_ih) if ctx.needs_input_grad[_XS] else None,
            *_weight_gradients(kernel, window.xs, d_x, d_h, before[0].to(x.dtype)),
            *(d.to(s.dtype) for d, s in zip(d_state, window.state, strict=True)),
            *_own_gradients(kernel, ctx.cell, window, x, kept, before, d_new),
            *(d.to(i.dtype) for d, i in zip(d_initial, window.initial, strict=False)),
        )


def _numbered(**tensors: Sequence[Tensor]) -> dict[str, Tensor]:
    """The tensors of each part of the state by their names in the kernels."""
    return {f"{name}{part}": tensor for name, parts in tensors.items() for part, tensor in enumerate(parts)}


def _weight_gradients(kernel: WindowKernel, xs: Tensor, d_x: Tensor, d_h: Tensor, before: Tensor) -> Weights:
    """The gradients of the engine's weights. before: (time, batch, hidden_size), the y that each step read."""
    d_weight_ih, d_bias_ih = weight_gradient(d_x, xs), d_x.flatten(0, 1).sum(0)
    if not kernel.layout.recurrent:
        return Weights(d_weight_ih, d_bias_ih, None, None, None)
    d_bias_hh = d_h.flatten(0, 1).sum(0) if kernel.layout.separate else d_bias_ih
    return Weights(d_weight_ih, d_bias_ih, weight_gradient(d_h, before), d_bias_hh, None)


def _own_gradients(
    kernel: WindowKernel,
    cell: Gated,
    window: Window,
    x: Tensor,
    kept: Tensor,
    before: Sequence[Tensor],
    d_new: Sequence[Tensor],
) -> list[Tensor | None]:
    """The gradients of `window.own`, from those of the state after every step."""
    layout = kernel.layout
    if not layout.trained:
        return [None] * len(window.own)
    step = Step(cell, kernel.own, kernel.trained, len(before), layout.reads_output, layout.summed)
    own = [t.detach().float() for t in window.own]
    bias_hh = window.weights.bias_hh
    with torch.enable_grad():
        wanted = [t.requires_grad_() for t in step.trained_ones(own)]
        read = StepInputs(
            (kept if layout.summed else x).flatten(0, 1).float(),
            kept.flatten(0, 1) if layout.separate else None,
            bias_hh.float() if layout.separate and bias_hh is not None else None,
            [part.flatten(0, 1) for part in before],
            own,
        )
        new = step.forward(*read.flat())
        pairs = [(n, d.flatten(0, 1)) for n, d in zip(new, d_new, strict=True) if n.requires_grad]
        found = iter(
            torch.autograd.grad(
                [n for n, _ in pairs],
                wanted,
                [d for _, d in pairs],
                materialize_grads=True,
                allow_unused=True,
            )
        )
    return [
        next(found).to(t.dtype) if trained else None
        for t, trained in zip(window.own, kernel.trained, strict=True)
    ]
