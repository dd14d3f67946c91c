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
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lmkit.neural.linear import linear
from lmkit.neural.products import FixedProduct, weight_gradient
from lmkit.recurrence.kernels import StateGradients, StepGradients, StepInputs, StepKernels
from lmkit.recurrence.linear_scan import reset_steps

Tensors = tuple[Tensor, ...]


class Weights(NamedTuple):
    """The weights that the engine multiplies by, or their gradients.

    weight_ih: (G, input_size). bias_ih: (G,).
    weight_hh: (G, P). bias_hh: (G,). Both None for a cell without W_hh.
    weight_p: (P, hidden_size), of a projection; None without one.
    """

    weight_ih: Tensor
    bias_ih: Tensor
    weight_hh: Tensor | None
    bias_hh: Tensor | None
    weight_p: Tensor | None


class Window(NamedTuple):
    """Everything in a window that may have a gradient.

    xs: (time, batch, input_size). weights: those of the engine's products.
    state: before the first step, each (batch, ...): that of `gates`, or with a projection y (batch, P) and then that.
    own: the tensors that `StepKernels.own` names.
    initial: the state in a row that is reset, as `state`; empty without resets.
    """

    xs: Tensor
    weights: Weights
    state: Sequence[Tensor]
    own: Sequence[Tensor]
    initial: Sequence[Tensor]

    def groups(self) -> list[Sequence[Tensor | None]]:
        """Its tensors in this order, a list for each field."""
        return [[self.xs], self.weights, self.state, self.own, self.initial]

    @classmethod
    def of(cls, groups: Sequence[Sequence[Any]]) -> "Window":
        """The opposite of `groups`."""
        (xs,), weights, state, own, initial = groups
        return cls(xs, Weights(*weights), state, own, initial)


class _Path(NamedTuple):
    """What the forward pass leaves for the backward pass.

    inputs: for each step (batch, G), what its kernel read as x.
    products: for each step (batch, G), W_hh y_{t-1}; empty for summed steps and without W_hh.
    states: for each part of the state (time + 1, batch, ...), before each step and after the last.
    """

    inputs: list[Tensor]
    products: list[Tensor]
    states: list[Tensor]


def run_steps(
    kernels: StepKernels, window: Window, clip: float | None = None, resets: Tensor | None = None
) -> tuple[Tensor, Tensors]:
    """ys (time, batch, P) and the last state.

    clip: the bound of a projected output, None without one. resets: (time, batch) bool, with `window.initial`.
    """
    groups = window.groups()
    # Kernels know one layout; a choice by a mask in another layout would take over the mask's.
    tensors = [None if t is None else t.contiguous() for group in groups for t in group]
    resets = None if resets is None else resets.contiguous()
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
        path = _forward(kernels, Window.of(_parted(tensors, lengths)), clip, resets)
        ctx.kernels, ctx.clip, ctx.lengths = kernels, clip, [*lengths, *(len(group) for group in path)]
        ctx.save_for_backward(resets, *tensors, *path.inputs, *path.products, *path.states)
        ctx.set_materialize_grads(False)
        # Copies, so that a state that is carried does not keep the whole window.
        return (path.states[0][1:], *(states[-1].clone() for states in path.states))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_ys: Tensor | None, *d_last: Tensor | None) -> tuple[Tensor | None, ...]:  # pyright: ignore
        resets, *tensors = ctx.saved_tensors
        *groups, inputs, products, states = _parted(tensors, ctx.lengths)
        window = Window.of(groups)
        needed = Window.of(_parted(ctx.needs_input_grad[_XS:], ctx.lengths[: len(groups)]))
        path = _Path(inputs, products, states)
        back = _Backward(ctx.kernels, window, path, ctx.clip, resets, needs_initial=any(needed.initial))
        carried = back.start(d_ys, d_last)
        at = reset_steps(resets)
        for t in reversed(range(len(window.xs))):
            carried = back.step(t, carried)
            if t in at:
                back.reset(t, carried)
        # In the order of Window.
        return (
            *[None] * _XS,
            back.xs_gradient() if needed.xs else None,
            *back.weight_gradients(),
            *back.state_gradients(carried),
            *back.d_own,
            *(back.d_initial or [None] * len(window.initial)),
        )


def _forward(kernels: StepKernels, window: Window, clip: float, resets: Tensor | None) -> _Path:
    """Run all steps and keep what the backward pass reads."""
    xs, weights, rows = window.xs, window.weights, window.xs.shape[1]
    multiply = None if weights.weight_hh is None else FixedProduct(weights.weight_hh, None, rows)
    project = None if weights.weight_p is None else FixedProduct(weights.weight_p, None, rows)
    projected = int(project is not None)
    bias_ih, bias_hh = weights.bias_ih, weights.bias_hh
    if kernels.summed and bias_hh is not None:
        bias_ih, bias_hh = bias_ih + bias_hh, None
    inputs = list(
        linear(xs, weights.weight_ih, bias_ih, may_copy=False).unbind(0)
    )  # x_t: (batch, G) for each t
    products: list[Tensor] = []  # W_hh y_{t-1}: (batch, G) for each t
    states = [s.new_empty(len(xs) + 1, *s.shape) for s in window.state]
    for steps, first in zip(states, window.state, strict=True):
        steps[0] = first
    # The state before the first step, then those after each step, into which the kernels write.
    before, *later = zip(*(steps.unbind(0) for steps in states), strict=True)
    at = reset_steps(resets)
    for t, after in enumerate(later):
        if resets is not None and t in at:
            before = [_chosen(resets[t], i, b) for i, b in zip(window.initial, before, strict=True)]
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
    return _Path(inputs, products, states)


class _Backward:
    """The way back through a window: `start`, `step` for each t from the last, then the gradients.

    d_own: the sum so far for each tensor in `Window.own`; None where it is not trained.
    d_initial: the sum so far for each tensor in `Window.initial`; empty if they are not needed.
    """

    def __init__(
        self,
        kernels: StepKernels,
        window: Window,
        path: _Path,
        clip: float,
        resets: Tensor | None,
        *,
        needs_initial: bool,
    ) -> None:
        weights, states, rows = window.weights, path.states, window.xs.shape[1]
        self._kernels, self._window, self._path, self._resets = kernels, window, path, resets
        self._multiply = None
        if weights.weight_hh is not None:
            self._multiply = FixedProduct(weights.weight_hh.t(), None, rows)
        self._projection = None
        if weights.weight_p is not None:
            self._projection = _ProjectionBackward(weights.weight_p, clip, states[0][1:], states[1][1:])
        self._projected = int(weights.weight_p is not None)
        self._bias_hh = None if kernels.summed else weights.bias_hh
        # For each part of the state (time, batch, ...): what each step read, resets included.
        self._before = [steps[:-1] for steps in states]
        if resets is not None:
            self._before = [_chosen(resets, i, b) for i, b in zip(window.initial, self._before, strict=True)]
        self._gates_before = list(
            zip(*(steps.unbind(0) for steps in self._before[self._projected :]), strict=True)
        )
        self._d_x = window.xs.new_empty(len(window.xs), *path.inputs[0].shape)  # (time, batch, G)
        self._d_h = torch.empty_like(self._d_x) if path.products else self._d_x
        self._d_xs, self._d_hs = self._d_x.unbind(0), self._d_h.unbind(0)
        self.d_own = [
            torch.zeros_like(t) if is_trained else None
            for t, is_trained in zip(window.own, kernels.trained, strict=True)
        ]
        # Two buffers like the state of `gates`: each step reads gradients from one and writes to the other.
        self._d_states = [[torch.empty_like(s) for s in self._gates_before[0]] for _ in range(2)]
        self._d_trained = _given(*self.d_own)
        self.d_initial = [torch.zeros_like(i) for i in window.initial] if needs_initial else []

    def start(self, d_ys: Tensor | None, d_last: Sequence[Tensor | None]) -> StateGradients:
        """Take the gradients from the loss: of ys (time, batch, P) and of each part of the last state; None is 0."""
        state = self._window.state
        ends = [
            torch.zeros_like(s) if d is None else d.contiguous() for s, d in zip(state, d_last, strict=True)
        ]
        ys = self._path.states[0][1:]
        self._d_y = [*(torch.zeros_like(ys) if d_ys is None else d_ys.contiguous()).unbind(0)]
        # The last y is the first part of the last state too.
        self._d_y[-1] = self._d_y[-1] + ends[0]
        # Of a projected cell the loss may read the last s[0] besides y.
        output, *memory = ends[self._projected :]
        self._d_output = [torch.zeros_like(output)] * (len(ys) - 1) + [output]
        return StateGradients(
            torch.zeros_like(output) if self._kernels.reads_output else None,
            None if self._multiply is None else torch.zeros_like(state[0]),
            memory,
        )

    def step(self, t: int, carried: StateGradients) -> StateGradients:
        """The gradients of the state before step t, from those of the state after it."""
        path, state = self._path, self._gates_before[t]
        product = path.products[t] if path.products else None
        step = StepInputs(path.inputs[t], product, self._bias_hh, state, self._window.own)
        d_new, d_loss = carried, self._d_y[t]
        if self._projection is not None and carried.product is not None:
            # W_hh and the loss read y; W_p reads the first state of `gates`, and the loss only the last of these.
            d_product = self._projection.step(t, d_loss + carried.product)
            d_new, d_loss = carried._replace(product=d_product), self._d_output[t]
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

    def reset(self, t: int, carried: StateGradients) -> None:
        """Move the gradients of the rows that are reset before step t from the state to the initial state."""
        assert self._resets is not None
        mask = self._resets[t]
        if self.d_initial:
            for total, d in zip(self.d_initial, self.state_gradients(carried), strict=True):
                total += _chosen(mask, d, torch.zeros_like(d))
        # A choice, since a product with 0 would keep a NaN.
        for d in _given(carried.product, carried.gates, *carried.memory):
            d.masked_fill_(_over(mask, d), 0)

    def state_gradients(self, carried: StateGradients) -> list[Tensor]:
        """The gradients of the state before a step, in all."""
        output = self._window.state[self._projected]
        if self._projection is not None:
            return [*_given(carried.product), _total(_given(carried.gates), output), *carried.memory]
        return [_total(_given(carried.gates, carried.product), output), *carried.memory]

    def xs_gradient(self) -> Tensor:
        """The gradient of xs, after the first step."""
        return linear(self._d_x, self._window.weights.weight_ih.t(), may_copy=False)

    def weight_gradients(self) -> Weights:
        """The gradients of the weights, after the first step."""
        d_bias_ih = self._d_x.flatten(0, 1).sum(0)
        d_weight_hh = d_bias_hh = None
        if self._multiply is not None:
            d_weight_hh = weight_gradient(self._d_h, self._before[0])
            d_bias_hh = d_bias_ih if self._kernels.summed else self._d_h.flatten(0, 1).sum(0)
        return Weights(
            weight_gradient(self._d_x, self._window.xs),
            d_bias_ih,
            d_weight_hh,
            d_bias_hh,
            None if self._projection is None else self._projection.weight_gradient(),
        )


class _ProjectionBackward:
    """The way back through y = clip(W_p s), from y (time, batch, P) and s (time, batch, hidden_size)."""

    def __init__(self, weight: Tensor, clip: float, ys: Tensor, outputs: Tensor) -> None:
        self._multiply = FixedProduct(weight.t(), None, ys.shape[1])
        self._clipped = ys.abs() >= clip
        self._outputs = outputs
        self._d_products = torch.empty_like(ys)

    def step(self, t: int, d_y: Tensor) -> Tensor:
        """The gradient (batch, hidden_size) of s_t, from that of y_t (batch, P), which is overwritten."""
        d_y.masked_fill_(self._clipped[t], 0)
        self._d_products[t] = d_y
        return self._multiply(d_y)

    def weight_gradient(self) -> Tensor:
        """The gradient (P, hidden_size) of W_p, after all steps."""
        return weight_gradient(self._d_products, self._outputs)


def _parted(tensors: Iterable[Any], lengths: Sequence[int]) -> list[list[Any]]:
    """The first tensors in groups of these lengths."""
    rest = iter(tensors)
    return [[next(rest) for _ in range(length)] for length in lengths]


def _given(*tensors: Tensor | None) -> list[Tensor]:
    """Those that are not None."""
    return [tensor for tensor in tensors if tensor is not None]


def _over(mask: Tensor, tensor: Tensor) -> Tensor:
    """A mask of the first dimensions of a tensor, for all of it."""
    return mask.view(*mask.shape, *[1] * (tensor.dim() - mask.dim()))


def _chosen(mask: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    """`yes` in the rows that a mask names, else `no`."""
    return torch.where(_over(mask, no), yes, no)


def _total(parts: list[Tensor], like: Tensor) -> Tensor:
    """The sum of gradients of a tensor such as `like`."""
    return sum(parts[1:], parts[0]) if parts else torch.zeros_like(like)
