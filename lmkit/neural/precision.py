"""The precision of a training step: float32, TF32 or bfloat16.

bfloat16 has the exponents of float32 and 8 bits of precision instead of 24. The parameters and the optimiser stay in
float32; a step casts each parameter once, and its gradient flows back through the cast. Logits, softmax, loss and the
bias of the output layer stay in float32, since logits near -10 would be rounded to sixteenths.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lmkit import states
from lmkit.devices import allow_tf32
from lmkit.neural.flat_weights import cast_together, lie_together
from lmkit.neural.output import OutputLayer
from lmkit.states import State


@contextlib.contextmanager
def computing(model: nn.Module, precision: str) -> Iterator[None]:
    """Inside the block the model computes with a precision of `TrainOptions`, the backward pass included."""
    if precision == "tf32":
        allow_tf32(True)
        try:
            yield
        finally:
            allow_tf32(False)
    elif precision == "bf16":
        with _cast(model, torch.bfloat16):
            yield
    else:
        yield


def entering(state: State, precision: str) -> State:
    """A state for the block of `computing`."""
    if precision != "bf16":
        return state
    return states.apply(lambda t: t.to(torch.bfloat16) if t.is_floating_point() else t, state)


@contextlib.contextmanager
def _cast(model: nn.Module, dtype: torch.dtype) -> Iterator[None]:
    """Inside the block, parameters and buffers are casts of themselves, one for each, whatever modules share it."""
    kept = {id(layer.bias) for layer in model.modules() if isinstance(layer, OutputLayer)}
    tables = [table for module in model.modules() for table in (module._parameters, module._buffers)]
    own: list[tuple[dict[str, Tensor | None], str, Tensor]] = [
        (table, name, tensor)  # pyright: ignore[reportAssignmentType]
        for table in tables
        for name, tensor in table.items()
        if tensor is not None and tensor.is_floating_point() and id(tensor) not in kept
    ]
    casts = _casts([tensor for _, _, tensor in own], dtype)
    try:
        for table, name, tensor in own:
            table[name] = casts[id(tensor)]
        yield
    finally:
        for table, name, tensor in own:
            table[name] = tensor


def _casts(tensors: list[Tensor], dtype: torch.dtype) -> dict[int, Tensor]:
    """The cast of each of these tensors by its id; those that are parts of one buffer remain so."""
    buffers: dict[int, dict[int, Tensor]] = {}
    for tensor in tensors:
        buffers.setdefault(tensor.untyped_storage()._cdata, {})[id(tensor)] = tensor
    casts: dict[int, Tensor] = {}
    for found in buffers.values():
        parts = sorted(found.values(), key=Tensor.storage_offset)
        if len(parts) > 1 and lie_together(parts):
            casts |= {id(part): cast for part, cast in zip(parts, cast_together(parts, dtype), strict=True)}
        else:
            casts |= {id(part): _To.apply(part, dtype) for part in parts}  # pyright: ignore
    return casts


class _To(torch.autograd.Function):
    """`tensor.to(dtype)`, whose gradient may be sparse."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, dtype: torch.dtype) -> Tensor:
        ctx.dtype = tensor.dtype
        return tensor.to(dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:  # pyright: ignore
        (gradient,) = grad_outputs
        if not gradient.is_sparse:
            return gradient.to(ctx.dtype), None
        values = gradient._values().to(ctx.dtype)
        indices, shape = gradient._indices(), gradient.shape
        return torch.sparse_coo_tensor(indices, values, shape, check_invariants=False), None
