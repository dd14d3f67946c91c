"""The walk of a gated cell through time by step kernels: one node of the graph for a whole window."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lmkit.recurrence.linear_scan import reset_steps
from lmkit.recurrence.products import FixedProduct, product

if TYPE_CHECKING:
    from lmkit.recurrence.kernels import StepKernels

Tensors = tuple[Tensor, ...]


def walk(
    kernels: "StepKernels",
    xs: Tensor,
    inputs: Tensors,
    recurrent: Tensors,
    state: Tensors,
    own: Tensors,
    resets: Tensor | None = None,
    initial: Tensors = (),
) -> tuple[Tensor, Tensors]:
    """ys (time, batch, width) and the last state, from xs (time, batch, input_size).

    inputs: W_ih and b_ih. recurrent: W_hh and b_hh, or nothing. own: the tensors that kernels.own names.
    resets: (time, batch) bool; initial: the state in a row that is reset, given with them.
    """
    groups = (inputs, recurrent, state, own, initial)
    tensors = [tensor.contiguous() for group in groups for tensor in group]
    lengths = [len(group) for group in groups]
    # Kernels know one layout; a choice by a mask that lies otherwise would take over the mask's.
    resets = None if resets is None else resets.contiguous()
    ys, *last = _Walk.apply(kernels, lengths, resets, xs.contiguous(), *tensors)  # pyright: ignore
    return ys, tuple(last)


class _Walk(torch.autograd.Function):
    """A product and a kernel a step; backward the same in reverse, and one product for the gradient of each matrix.

    What lies within a step is computed again by the backward kernel, which is cheaper than to keep it.
    """

    @staticmethod
    def forward(
        ctx: Any,
        kernels: "StepKernels",
        lengths: list[int],
        resets: Tensor | None,
        xs: Tensor,
        *tensors: Tensor,
    ) -> Any:
        (weight, bias), recurrent, state, own, initial = _parted(tensors, lengths)
        hidden_weight, *hidden_bias = recurrent or (None,)
        hidden = None if hidden_weight is None else FixedProduct(hidden_weight, xs.shape[1])
        if kernels.summed:
            bias = bias + hidden_bias.pop()
        inputs = list(product(xs, weight, bias).unbind(0))
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
            kernels.forward([inputs[t], *products[t:], *hidden_bias, *before, *own, *new])
            before = new
        ctx.kernels, ctx.lengths = kernels, [*lengths, len(inputs), len(products), len(path)]
        ctx.save_for_backward(resets, xs, *tensors, *inputs, *products, *path)
        ctx.set_materialize_grads(False)
        # Copies, so that a state that is carried does not keep the whole window.
        return (path[0][1:], *(last.clone() for last in before))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_ys: Tensor | None, *d_last: Tensor | None) -> tuple[Tensor | None, ...]:  # pyright: ignore
        kernels: StepKernels = ctx.kernels
        resets, xs, *tensors = ctx.saved_tensors
        (weight, _), recurrent, state, own, initial, inputs, products, path = _parted(tensors, ctx.lengths)
        hidden_weight, *hidden_bias = recurrent or (None,)
        hidden = None if hidden_weight is None else FixedProduct(hidden_weight.t(), xs.shape[1])
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
        learns_initial = any(ctx.needs_input_grad[len(ctx.needs_input_grad) - len(initial) :]) and bool(
            initial
        )
        d_initial = [torch.zeros_like(i) for i in initial] if learns_initial else []
        d_ys = torch.zeros_like(path[0][1:]) if d_ys is None else d_ys.contiguous()
        # The gradient of the output at a step is the sum of d_ys and of what `d_output` lists: what the step after
        # it hands back through its gates, if they read the output, and through its product.
        d_output = [torch.zeros_like(state[0]) for _ in range(kernels.reads_output + (hidden is not None))]
        d_others = [
            torch.zeros_like(s) if d is None else d.contiguous()
            for s, d in zip(state[1:], d_last[1:], strict=True)
        ]
        if d_last[0] is not None:
            if d_output:
                d_output[0] = d_last[0].contiguous()
            else:
                d_ys = torch.cat([d_ys[:-1], d_ys[-1:] + d_last[0]])
        at = reset_steps(resets)
        steps = list(zip(*(b.unbind(0) for b in before), strict=True))
        d_steps = [d.unbind(0) for d in ((d_in,) if d_hidden is d_in else (d_in, d_hidden))]
        d_y = d_ys.unbind(0)
        trained = [d for d in d_own if d is not None]
        for t in reversed(range(len(xs))):
            read = [
                inputs[t],
                *products[t : t + 1],
                *hidden_bias,
                *steps[t],
                *own,
                *d_others,
                *d_output,
                d_y[t],
            ]
            d_output = [torch.empty_like(state[0])] if kernels.reads_output else []
            d_others = [torch.empty_like(s) for s in state[1:]]
            kernels.backward([*read, *(d[t] for d in d_steps), *d_output, *d_others, *trained])
            if hidden is not None:
                d_output.append(hidden(d_steps[-1][t]))
            if resets is not None and t in at:
                d_state = [_total(d_output, state[0]), *d_others] if learns_initial else []
                for total, d in zip(d_initial, d_state, strict=True):
                    total += _chosen(resets[t], d, torch.zeros_like(d))
                # A choice, since a product with 0 would keep a NaN.
                for d in (*d_output, *d_others):
                    d.masked_fill_(_over(resets[t], d), 0)
        flat = d_in.flatten(0, 1)
        d_bias = flat.sum(0)
        gradients = [product(flat, weight.t()).view_as(xs) if ctx.needs_input_grad[3] else None]
        gradients += [product(flat.t(), xs.flatten(0, 1).t()), d_bias]
        if hidden is not None:
            flat_hidden = d_hidden.flatten(0, 1)
            gradients.append(product(flat_hidden.t(), before[0].flatten(0, 1).t()))
            gradients.append(d_bias if kernels.summed else flat_hidden.sum(0))
        return (
            None,
            None,
            None,
            *gradients,
            _total(d_output, state[0]),
            *d_others,
            *d_own,
            *(d_initial or [None] * len(initial)),
        )


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
