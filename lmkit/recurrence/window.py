"""The tensors of a window of a gated cell: what its steps read and what they leave for the way back.

G is num_gates * hidden_size, P the width of the output.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor


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

    @property
    def projected(self) -> int:
        """The number of states before that of `gates`: 1 with a projection, else 0."""
        return int(self.weights.weight_p is not None)

    def states(self) -> list[Tensor]:
        """For each part of the state (time + 1, batch, ...), of which only the first step is filled in."""
        states = [s.new_empty(len(self.xs) + 1, *s.shape) for s in self.state]
        for steps, first in zip(states, self.state, strict=True):
            steps[0] = first
        return states


class Path(NamedTuple):
    """What the forward pass leaves for the backward pass.

    inputs: what the kernels read as x, for each step (batch, G), or from a loop in C++ one tensor (time, batch, G).
    products: W_hh y_{t-1}, as inputs; empty for summed steps and without W_hh.
    states: for each part of the state (time + 1, batch, ...), before each step and after the last.
    """

    inputs: list[Tensor]
    products: list[Tensor]
    states: list[Tensor]


def parted(tensors: Iterable[Any], lengths: Sequence[int]) -> list[list[Any]]:
    """The first tensors in groups of these lengths."""
    rest = iter(tensors)
    return [[next(rest) for _ in range(length)] for length in lengths]


def given(*tensors: Tensor | None) -> list[Tensor]:
    """Those that are not None."""
    return [tensor for tensor in tensors if tensor is not None]


def over(mask: Tensor, tensor: Tensor) -> Tensor:
    """A mask of the first dimensions of a tensor, for all of it."""
    return mask.view(*mask.shape, *[1] * (tensor.dim() - mask.dim()))


def chosen(mask: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    """`yes` in the rows that a mask names, else `no`."""
    return torch.where(over(mask, no), yes, no)
