"""Weights as parts of one buffer, the form in which cuDNN's recurrent kernels read them.

A call of cuDNN takes the weights of all its layers as one buffer: the matrices of all layers, then the biases of all
layers, without gaps (MXNet's `FusedRNNCell` cuts cuDNN's buffer in this way). torch compares the addresses of the
weights that it is given with that buffer; if one differs, it copies all of them in every call, and warns.
"""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


def in_buffer_order(layers: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """The weights of layers, of each W_ih, W_hh, b_ih and b_hh, in the order of cuDNN's buffer."""
    return [matrix for layer in layers for matrix in layer[:2]] + [b for layer in layers for b in layer[2:]]


def lie_together(tensors: Sequence[Tensor]) -> bool:
    """Whether these tensors, in this order and without gaps, begin a piece of memory."""
    storages = {tensor.untyped_storage()._cdata for tensor in tensors}
    starts = _starts(tensors)
    return (
        len(storages) == 1
        and all(t.is_contiguous() and t.dtype == tensors[0].dtype for t in tensors)
        and [tensor.storage_offset() for tensor in tensors] == starts[:-1]
    )


@torch.no_grad()
def lay_together(parameters: Sequence[nn.Parameter]) -> None:
    """Move parameters into one buffer, in this order; they keep their values, gradients and identities.

    Anything that gives a parameter new memory (`to`, `copy.deepcopy`) ends it; loading into it (`copy_`) does not.
    Parameters of several types or devices, and those that occur twice, stay where they are.
    """
    kinds = {(parameter.device, parameter.dtype) for parameter in parameters}
    if len(kinds) > 1 or len({id(p) for p in parameters}) < len(parameters) or lie_together(parameters):
        return
    for parameter, part in zip(parameters, _parts(_joined(parameters), parameters), strict=True):
        parameter.data = part


def together(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The same tensors, or if they do not lie together, copies that do; a copy passes on its gradient."""
    return list(tensors) if lie_together(tensors) else list(_Together.apply(None, *tensors))  # pyright: ignore[reportArgumentType]


def cast_together(tensors: Sequence[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """Casts of tensors that lie together, which lie together too."""
    return list(_Together.apply(dtype, *tensors))  # pyright: ignore[reportArgumentType]


class _Together(torch.autograd.Function):
    """Copies of tensors in one buffer, of another type unless that is None."""

    @staticmethod
    def forward(ctx: Any, dtype: torch.dtype | None, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.dtype = tensors[0].dtype
        return _converted(tensors, dtype or ctx.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> tuple[Tensor | None, ...]:  # pyright: ignore
        given = [gradient for gradient in grad_outputs if gradient is not None]
        if given and given[0].dtype != ctx.dtype:
            # cuDNN gives the gradients of its weights as parts of one buffer too.
            given = list(_converted(given, ctx.dtype))
        rest = iter(given)
        return (None, *(None if gradient is None else next(rest) for gradient in grad_outputs))


def _converted(tensors: Sequence[Tensor], dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Copies in one buffer of a type, by one operation if the tensors lie together."""
    if lie_together(tensors):
        size = _starts(tensors)[-1]
        whole = tensors[0].new_empty(0).set_(tensors[0].untyped_storage(), 0, (size,), (1,))
        buffer = whole.to(dtype, copy=True)
    else:
        buffer = _joined(tensors).to(dtype)
    return tuple(_parts(buffer, tensors))


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().flatten() for tensor in tensors])


def _parts(buffer: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """The parts of a buffer with the shapes of `like`.

    They share its memory as tensors of their own, since autograd treats views differently from other results.
    """
    return [
        buffer.new_empty(0).set_(buffer.untyped_storage(), start, tuple(tensor.shape))  # pyright: ignore[reportCallIssue]
        for (start, _), tensor in zip(pairwise(_starts(like)), like, strict=True)
    ]


def _starts(tensors: Sequence[Tensor]) -> list[int]:
    """Where each begins in a buffer of all, and where the last one ends."""
    return list(accumulate((tensor.numel() for tensor in tensors), initial=0))
