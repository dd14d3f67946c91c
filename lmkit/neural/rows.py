"""The rows of matrices over the vocabulary that one training step reads, with a gradient in those rows only."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lmkit.host_copies import on_host, send


class TokenRows:
    """The tokens of a step, each with its place among them.

    A matrix is read once, so that a weight that the embedding and the output layer share has one sparse gradient.
    """

    def __init__(self, tokens: Tensor, device: torch.device | None = None) -> None:
        """tokens: ids, in any order, repeated or not. device: that of the matrices; by default that of the tokens."""
        self.ids = send(on_host(tokens).unique(), tokens.device if device is None else device)
        """(rows,) the distinct ids, ascending."""
        self._read: dict[int, Tensor] = {}

    def places(self, ids: Tensor) -> Tensor:
        """The places of ids, each of which is among the tokens."""
        return torch.searchsorted(self.ids, ids)

    def of(self, matrix: nn.Parameter) -> Tensor:
        """The rows of a matrix (vocabulary, ...): (rows, ...)."""
        key = id(matrix)
        if key not in self._read:
            self._read[key] = GatherRows.apply(matrix, self.ids)  # pyright: ignore[reportArgumentType]
        return self._read[key]


class GatherRows(torch.autograd.Function):
    """matrix[ids] for distinct ids, whose gradient is a sparse tensor of these rows, each of them once."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, ids: Tensor) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.shape = matrix.shape
        return matrix[ids]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:  # pyright: ignore
        (ids,) = ctx.saved_tensors
        return torch.sparse_coo_tensor(ids[None], grad_outputs[0], ctx.shape, check_invariants=False), None
