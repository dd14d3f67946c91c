"""The walk of a gated cell through time by step kernels: one node of the graph for a whole window."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lmkit.neural.linear import linear
from lmkit.neural.products import FixedProduct, Projection, weight_gradient
from lmkit.recurrence.linear_scan import reset_steps

if TYPE_CHECKING:
    from lmkit.recurrence.kernels import StepKernels

Tensors = tuple[Tensor, ...]


def walk(
    kernels: "StepKernels",
    xs: Tensor,
    inputs: Tensors,
    recurrent: Tensors,
    projection: Projection | None,
    state: Tensors,
    own: Tensors,
    resets: Tensor | None = None,
    initial: Tensors = (),
) -> tuple[Tensor, Tensors]:
    """ys (time, batch, width) and the last state, from xs (time, batch, input_size).

    inputs: W_ih and b_ih. recurrent: W_hh and b_hh, or nothing. projection: of the output; the projected output is
    then the first part of the state, before that of the kernels. own: the tensors that kernels.own names.
    resets: (time, batch) bool; initial: the state in a row that is reset, given with them.
    """
    projected = () if projection is None else (projection.weight,)
    groups = (inputs, recurrent, projected, state, own, initial)
    tensors = [tensor.contiguous() for group in groups for tensor in group]
    lengths = [len(group) for group in groups]
    clip = math.inf if projection is None or projection.clip is None else projection.clip
    # Kernels know one layout; a choice by a mask that lies otherwise would take over the mask's.
    resets = None if resets is None else resets.contiguous()
    ys, *last = _Walk.apply(kernels, clip, lengths, resets, xs.contiguous(), *tensors)  # pyright: ignore
    return ys, tuple(last)


_XS = 4
"""The place of xs among the arguments of `_Walk`; all before it are no tensors to differentiate by."""


class _Walk(torch.autograd.Function):
    """A product and a kernel a step; backward the same in reverse, and one product for the gradient of each matrix.

    What lies within a step is computed again by the backward kernel, which is cheaper than to keep it.
    """

    @staticmethod
    def forward(
        ctx: Any,
        kernels: "StepKernels",
        clip: float,
        lengths: list[int],
        resets: Tensor | None,
        xs: Tensor,
        *tensors: Tensor,
    ) -> Any:
        (weight, bias), recurrent, projected, state, own, initial = _parted(tensors, lengths)
        rows, outer = xs.shape[1], len(projected)
        hidden_weight, *hidden_bias = recurrent or (None,)
        hidden = None if hidden_weight is None else FixedProduct(hidden_weight, None, rows)
        project = FixedProduct(projected[0], None, rows) if projected else None
        if kernels.summed:
            bias = bias + hidden_bias.pop()
        inputs = list(linear(xs, weight, bias, may_copy=False).unbind(0))
        products: list[Tensor] = []
        # The states before each step, and after the last.
        path = [s.new_empty(len(xs) + 1, *s.shape) for s in state]
        for steps, s in zip(path, state, strict=True):
            steps[0] = s
        at = reset_steps(resets)
        before, *later = zip(*(steps.unbind(0) for steps in path), strict=True)
        for t, new in enumerate(later):
            if resets is not None and t in at:
                before = [_chosen(resets[t], i, b) for i, b in zip(initial, before, strict=True)]
            if kernels.summed and hidden is not None:
                inputs[t] = hidden.added_to(inputs[t], before[0])
            elif hidden is not None:
                products.append(hidden(before[0]))
            kernels.forward([inputs[t], *products[t:], *hidden_bias, *before[outer:], *own, *new[outer:]])
            if project is not None:
                torch.clamp(project(new[1]), -clip, clip, out=new[0])
            before = new
        ctx.kernels, ctx.clip, ctx.lengths = kernels, clip, [*lengths, len(inputs), len(products), len(path)]
        ctx.save_for_backward(resets, xs, *tensors, *inputs, *products, *path)
        ctx.set_materialize_grads(False)
        # Copies, so that a state that is carried does not keep the whole window.
        return (path[0][1:], *(last.clone() for last in before))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_ys: Tensor | None, *d_last: Tensor | None) -> tuple[Tensor | None, ...]:  # pyright: ignore
        kernels: StepKernels = ctx.kernels
        resets, xs, *tensors = ctx.saved_tensors
        (weight, _), recurrent, projected, state, own, initial, inputs, products, path = _parted(
            tensors, ctx.lengths
        )
        outer = len(projected)
        hidden_weight, *hidden_bias = recurrent or (None,)
        hidden = None if hidden_weight is None else FixedProduct(hidden_weight.t(), None, xs.shape[1])
        back = _ProjectionBackward(projected[0], ctx.clip, path[0][1:], path[1][1:]) if projected else None
        if kernels.summed:
            hidden_bias = []
        before = [steps[:-1] for steps in path]
        if resets is not None:
            before = [_chosen(resets, i, b) for i, b in zip(initial, before, strict=True)]
        d_in = xs.new_empty(len(xs), *inputs[0].shape)
        d_hidden = d_in if kernels.summed or hidden is None else torch.empty_like(d_in)
        d_own = [
            torch.zeros_like(t) if is_trained else None
            for t, is_trained in zip(own, kernels.trained, strict=True)
        ]
        needed = ctx.needs_input_grad
        d_initial = (
            [torch.zeros_like(i) for i in initial] if any(needed[len(needed) - len(initial) :]) else []
        )
        # Of the last state; the last y is the first part of it, and `gates` gives the rest.
        ends = [
            torch.zeros_like(s) if d is None else d.contiguous() for s, d in zip(state, d_last, strict=True)
        ]
        d_y = [*(torch.zeros_like(path[0][1:]) if d_ys is None else d_ys.contiguous()).unbind(0)]
        d_y[-1] = d_y[-1] + ends[0]
        d_inner = [torch.zeros_like(ends[outer])] * (len(xs) - 1) + [ends[outer]]
        # The other gradients of the state between two steps: of what the product reads, of the state of `gates`.
        d_read = [torch.zeros_like(state[0])] if hidden is not None else []
        d_output = [torch.zeros_like(state[outer])] if kernels.reads_output else []
        d_others = ends[outer + 1 :]
        at = reset_steps(resets)
        steps = list(zip(*(b.unbind(0) for b in before[outer:]), strict=True))
        d_steps = [d.unbind(0) for d in ((d_in,) if d_hidden is d_in else (d_in, d_hidden))]
        trained = [d for d in d_own if d is not None]

        def d_state() -> list[Tensor]:
            if back is not None:
                return [*d_read, _total(d_output, state[1]), *d_others]
            return [_total([*d_output, *d_read], state[0]), *d_others]

        for t in reversed(range(len(xs))):
            d_now = [*d_output, *d_read, d_y[t]]
            if back is not None:
                d_now = [*d_output, back.step(t, d_y[t] + d_read[0]), d_inner[t]]
            known = [inputs[t], *products[t : t + 1], *hidden_bias, *steps[t], *own, *d_others, *d_now]
            d_output = [torch.empty_like(state[outer])] if kernels.reads_output else []
            d_others = [torch.empty_like(s) for s in state[outer + 1 :]]
            kernels.backward([*known, *(d[t] for d in d_steps), *d_output, *d_others, *trained])
            if hidden is not None:
                d_read = [hidden(d_steps[-1][t])]
            if resets is not None and t in at:
                for total, d in zip(d_initial, d_state() if d_initial else [], strict=True):
                    total += _chosen(resets[t], d, torch.zeros_like(d))
                # A choice, since a product with 0 would keep a NaN.
                for d in (*d_read, *d_output, *d_others):
                    d.masked_fill_(_over(resets[t], d), 0)
        d_bias = d_in.flatten(0, 1).sum(0)
        gradients = [linear(d_in, weight.t(), may_copy=False) if needed[_XS] else None]
        gradients += [weight_gradient(d_in, xs), d_bias]
        if hidden is not None:
            d_hidden_bias = d_bias if kernels.summed else d_hidden.flatten(0, 1).sum(0)
            gradients += [weight_gradient(d_hidden, before[0]), d_hidden_bias]
        if back is not None:
            gradients.append(back.weight_gradient())
        return (
            *[None] * _XS,
            *gradients,
            *d_state(),
            *d_own,
            *(d_initial or [None] * len(initial)),
        )


class _ProjectionBackward:
    """The way back through r = clip(W h), from r and h (time, batch, width) of all steps."""

    def __init__(self, weight: Tensor, clip: float, rs: Tensor, hs: Tensor) -> None:
        self._product = FixedProduct(weight.t(), None, rs.shape[1])
        self._beyond = rs.abs() >= clip
        self._hs = hs
        self._d_products = torch.empty_like(rs)

    def step(self, t: int, d_r: Tensor) -> Tensor:
        """The gradient of h_t, from that of r_t, which is overwritten."""
        d_r.masked_fill_(self._beyond[t], 0)
        self._d_products[t] = d_r
        return self._product(d_r)

    def weight_gradient(self) -> Tensor:
        """The gradient of W, once every step was gone back."""
        return weight_gradient(self._d_products, self._hs)


def _parted(tensors: Sequence[Tensor], lengths: Sequence[int]) -> list[list[Tensor]]:
    """The tensors in groups of these lengths."""
    rest = iter(tensors)
    return [[next(rest) for _ in range(length)] for length in lengths]


def _over(mask: Tensor, tensor: Tensor) -> Tensor:
    """A mask of the first dimensions of a tensor, for all of it."""
    return mask.view(*mask.shape, *[1] * (tensor.dim() - mask.dim()))


def _chosen(mask: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    """`yes` in the rows that a mask names, else `no`."""
    return torch.where(_over(mask, no), yes, no)


def _total(parts: list[Tensor], like: Tensor) -> Tensor:
    """The sum of gradients of a tensor such as `like`."""
    return sum(parts[1:], parts[0]) if parts else torch.zeros_like(like)
