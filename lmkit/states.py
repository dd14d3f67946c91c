"""States of models: nested tuples of tensors whose dimension 0 is the batch, and operations on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias, Union

if TYPE_CHECKING:
    from torch import Tensor

State: TypeAlias = Union["Tensor", tuple["State", ...]]
"""A tensor, or a tuple of states; dimension 0 of every tensor is the batch."""


def apply(function: Callable[..., Tensor], *states: State) -> State:
    """Apply `function` to the corresponding leaves of `states`, which must have the same structure."""
    if isinstance(states[0], tuple):
        return tuple(apply(function, *parts) for parts in zip(*states, strict=True))
    return function(*states)


def leaves(state: State) -> list[Tensor]:
    """The tensors of a state, in order."""
    return [leaf for part in state for leaf in leaves(part)] if isinstance(state, tuple) else [state]


def take(state: State, index: Tensor | slice) -> State:
    """The rows `index` of the batch, in that order. The parts of a mixture may be on several devices."""
    return apply(lambda t: t[index if isinstance(index, slice) else index.to(t.device)], state)


def cat(parts: Sequence[State]) -> State:
    """Concatenate the rows of several states; their tensors may differ only in dimension 0."""
    import torch

    return apply(lambda *tensors: torch.cat(tensors), *parts)


def where(mask: Tensor, yes: State, no: State) -> State:
    """Row b of `yes` where `mask[b]` (a bool vector), else row b of `no`.

    It selects rows and never multiplies, so NaN or an infinity in the other row has no effect.
    """
    import torch

    def choice(a: Tensor, b: Tensor) -> Tensor:
        return torch.where(mask.to(a.device).view(-1, *[1] * (a.dim() - 1)), a, b)

    return apply(choice, yes, no)


def detach(state: State) -> State:
    """The same values, detached from the graph for truncated back-propagation through time."""
    return apply(lambda t: t.detach(), state)
