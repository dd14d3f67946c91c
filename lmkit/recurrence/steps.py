"""Run a gated cell through a window by its step kernels, as one node of the autograd graph.

Forward, for each step t, where s_t is the state of `gates` and y_t the output:

    x_t = W_ih input_t + b_ih              for all steps in one product
    h_t = W_hh y_{t-1} + b_hh              a product a step; none for a cell without W_hh
    s_t = gates(x_t, h_t, s_{t-1})         a kernel a step; of a summed step gates(x_t + h_t, 0, s_{t-1})
    y_t = s_t[0]                           or clip(W_p s_t[0]), a product a step

Backward from the last step to the first, where d_a is the gradient of the loss with respect to a:

    d_y_t = (from the loss) + W_hh' d_h_{t+1}
    d_s_t[0] = d_y_t                       or W_p' d_y_t, where the clip did not act
    d_x_t, d_h_t, d_s_{t-1}                by the backward kernel, which computes the inside of the step again:
                                           that is cheaper than to keep it

and then one product for each matrix: d_W_ih = sum_t d_x_t input_t', d_W_hh = sum_t d_h_t y_{t-1}', the same for W_p.
W' is W transposed; G is num_gates * hidden_size, P the width of the output.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lmkit.host_copies import derive
from lmkit.neural.linear import linear
from lmkit.neural.products import FixedProduct
from lmkit.recurrence import native_steps
from lmkit.recurrence.gradients import WindowGradients
from lmkit.recurrence.kernels import StateGradients, StepGradients, StepInputs, StepKernels
from lmkit.recurrence.linear_scan import reset_steps
from lmkit.recurrence.window import Path, Window, chosen, given, over, parted

Tensors = tuple[Tensor, ...]


def run_steps(
    kernels: StepKernels, window: Window, clip: float | None = None, resets: Tensor | None = None
) -> tuple[Tensor, Tensors]:
    """ys (time, batch, P) and the last state.

    clip: the bound of a projected output, None without one. resets: (time, batch) bool, with `window.initial`.
    """
    groups = window.groups()
    # Kernels know one layout; a choice by a mask in another layout would take over the mask's.
    tensors = [None if t is None else t.contiguous() for group in groups for t in group]
    resets = None if resets is None else derive(Tensor.contiguous, resets)
    settings = (kernels, math.inf if clip is None else clip, [len(group) for group in groups])
    ys, *last = _Steps.apply(*settings, resets, *tensors)  # pyright: ignore
    return ys, tuple(last)


_XS = 4
"""The place of xs among the arguments of `_Steps`; those before it have no gradient."""


class _Steps(torch.autograd.Function):
    """A window as a function of its tensors, in the order of Window; lengths: how many each field has."""

    @staticmethod
    def forward(
        ctx: Any,
        kernels: StepKernels,
        clip: float,
        lengths: list[int],
        resets: Tensor | None,
        *tensors: Tensor,
    ) -> Any:
        forward = _forward if kernels.loop is None else native_steps.forward
        path = forward(kernels, Window.of(parted(tensors, lengths)), clip, resets)
        ctx.kernels, ctx.clip, ctx.lengths = kernels, clip, [*lengths, *(len(group) for group in path)]
        ctx.save_for_backward(resets, *tensors, *path.inputs, *path.products, *path.states)
        ctx.set_materialize_grads(False)
        # Copies, so that a state that is carried does not keep the whole window.
        return (path.states[0][1:], *(states[-1].clone() for states in path.states))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_ys: Tensor | None, *d_last: Tensor | None) -> tuple[Tensor | None, ...]:  # pyright: ignore
        kernels, (resets, *tensors) = ctx.kernels, ctx.saved_tensors
        *groups, inputs, products, states = parted(tensors, ctx.lengths)
        window, path = Window.of(groups), Path(inputs, products, states)
        needed = Window.of(parted(ctx.needs_input_grad[_XS:], ctx.lengths[: len(groups)]))
        found = WindowGradients(
            kernels, window, path, resets, needs_xs=bool(needed.xs), needs_initial=any(needed.initial)
        )
        backward = _backward if kernels.loop is None else native_steps.backward
        carried = backward(found, found.start(d_ys, d_last), ctx.clip)
        # In the order of Window.
        return (
            *[None] * _XS,
            found.xs_gradient() if needed.xs else None,
            *found.weight_gradients(),
            *found.state_gradients(carried),
            *found.d_own,
            *(found.d_initial or [None] * len(window.initial)),
        )


def _forward(kernels: StepKernels, window: Window, clip: float, resets: Tensor | None) -> Path:
    """Run all steps and keep what the backward pass reads."""
    xs, weights, rows, projected = window.xs, window.weights, window.xs.shape[1], window.projected
    multiply = None if weights.weight_hh is None else FixedProduct(weights.weight_hh, None, rows)
    project = None if weights.weight_p is None else FixedProduct(weights.weight_p, None, rows)
    bias_ih, bias_hh = weights.bias_ih, weights.bias_hh
    if kernels.summed and bias_hh is not None:
        bias_ih, bias_hh = bias_ih + bias_hh, None
    inputs = list(
        linear(xs, weights.weight_ih, bias_ih, may_copy=False).unbind(0)
    )  # x_t: (batch, G) for each t
    products: list[Tensor] = []  # W_hh y_{t-1}: (batch, G) for each t
    states = window.states()
    # The state before the first step, then those after each step, into which the kernels write.
    before, *later = zip(*(steps.unbind(0) for steps in states), strict=True)
    at = reset_steps(resets)
    for t, after in enumerate(later):
        if resets is not None and t in at:
            before = [chosen(resets[t], i, b) for i, b in zip(window.initial, before, strict=True)]
        if multiply is not None and kernels.summed:
            inputs[t] = multiply.added_to(inputs[t], before[0])
        elif multiply is not None:
            products.append(multiply(before[0]))
        product = products[t] if products else None
        step = StepInputs(inputs[t], product, bias_hh, before[projected:], window.own)
        kernels.forward(step, after[projected:])
        if project is not None:
            torch.clamp(project(after[1]), -clip, clip, out=after[0])  # y_t = clip(W_p s_t[0])
        before = after
    return Path(inputs, products, states)


def _backward(found: WindowGradients, carried: StateGradients, clip: float) -> StateGradients:
    """Walk the steps from the last; the gradients of the state before the first, from those after the last."""
    walk, at = _Backward(found, clip), reset_steps(found.resets)
    for t in reversed(range(len(found.window.xs))):
        carried = walk.step(t, carried)
        if t in at:
            walk.reset(t, carried)
    return carried


class _Backward:
    """One step after the other of the way back."""

    def __init__(self, found: WindowGradients, clip: float) -> None:
        window, rows = found.window, found.window.xs.shape[1]
        weight_hh, weight_p = window.weights.weight_hh, window.weights.weight_p
        self._found, self._kernels, self._path = found, found.kernels, found.path
        self._multiply = None if weight_hh is None else FixedProduct(weight_hh.t(), None, rows)
        self._project = None if weight_p is None else FixedProduct(weight_p.t(), None, rows)
        self._clipped = None if weight_p is None else found.ys.abs() >= clip
        self._bias_hh = None if self._kernels.summed else window.weights.bias_hh
        self._states = list(zip(*(b.unbind(0) for b in found.before[window.projected :]), strict=True))
        self._d_xs, self._d_hs = found.d_x.unbind(0), found.d_h.unbind(0)
        # Two buffers like the state of `gates`: each step reads gradients from one and writes to the other.
        self._d_states = [[torch.empty_like(s) for s in self._states[0]] for _ in range(2)]
        self._d_trained = given(*found.d_own)

    def step(self, t: int, carried: StateGradients) -> StateGradients:
        """The gradients of the state before step t, from those of the state after it."""
        found, path = self._found, self._path
        product = path.products[t] if path.products else None
        step = StepInputs(path.inputs[t], product, self._bias_hh, self._states[t], found.window.own)
        d_new, d_loss = carried, found.d_ys[t]
        if carried.product is not None and self._project is not None:
            # W_hh and the loss read y; W_p reads the first state of `gates`, and the loss only the last of these.
            d_product = self._project(self._before_clip(t, d_loss + carried.product))
            d_new, d_loss = carried._replace(product=d_product), found.d_outputs[t]
        d_state = self._d_states[t % 2]
        d_step = StepGradients(
            self._d_xs[t],
            self._d_hs[t] if path.products else None,
            d_state[0] if self._kernels.reads_output else None,
            d_state[1:],
            self._d_trained,
        )
        self._kernels.backward(step, d_new, d_loss, d_step)
        d_product = None if self._multiply is None else self._multiply(self._d_hs[t])
        return StateGradients(d_step.output, d_product, d_step.memory)

    def _before_clip(self, t: int, d_y: Tensor) -> Tensor:
        """The gradient (batch, P) of W_p s_t, from that of y_t."""
        assert self._clipped is not None
        assert self._found.d_products is not None
        self._found.d_products[t] = d_y.masked_fill_(self._clipped[t], 0)
        return d_y

    def reset(self, t: int, carried: StateGradients) -> None:
        """Move the gradients of the rows that are reset before step t from the state to the initial state."""
        found = self._found
        assert found.resets is not None
        mask = found.resets[t]
        if found.d_initial:
            for total, d in zip(found.d_initial, found.state_gradients(carried), strict=True):
                total += chosen(mask, d, torch.zeros_like(d))
        # A choice, since a product with 0 would keep a NaN.
        for d in given(carried.product, carried.gates, *carried.memory):
            d.masked_fill_(over(mask, d), 0)
