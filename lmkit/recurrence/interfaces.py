"""What the engine reads from a cell: the cells provide it, and the engine imports none of them."""

from collections.abc import Callable, Hashable, Iterator
from typing import Any, ClassVar, Protocol

from torch import Tensor, nn

from lmkit.neural.products import Projection
from lmkit.states import State


class AnyCell(Hashable, Protocol):
    """What a loop over the steps reads from any cell."""

    @property
    def output_size(self) -> int:
        """The width of y."""
        ...

    def reset(self, state: State, resets: Tensor | None, t: int) -> State:
        """The initial state in the rows that `resets[t]` names, `state` in the others."""
        ...


class Gated(AnyCell, Protocol):
    """What the engine reads from a gated cell; G is num_gates * hidden_size, P the width of the output."""

    recurrent: ClassVar[bool]
    """Whether there are W_hh and b_hh."""
    tier: str
    """The tier asked for, or "auto"."""
    training: bool

    @property
    def weight_ih(self) -> Tensor:
        """W_ih (G, input_size)."""
        ...

    @property
    def bias_ih(self) -> Tensor:
        """b_ih (G,)."""
        ...

    @property
    def weight_hh(self) -> Tensor:
        """W_hh (G, P)."""
        ...

    @property
    def bias_hh(self) -> Tensor:
        """b_hh (G,)."""
        ...

    def projection(self) -> Projection | None:
        """W_p (P, hidden_size) and its clip; None: the output is the first state of `gates`, and P is hidden_size."""
        ...

    def initial_state(self, batch_size: int) -> tuple[Tensor, ...]:
        """The state in which nothing has been read."""
        ...

    def new_state(self, x: Tensor, h: Tensor | None, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The new state from x = W_ih x_t + b_ih and h = W_hh y_{t-1} + b_hh, each (batch, G)."""
        ...

    def torch_kernel(self) -> Callable[..., Any] | None:
        """torch's own function for this cell, or None."""
        ...

    # The rest every nn.Module has.
    def __call__(self, x: Tensor, state: State) -> tuple[Tensor, State]: ...
    def modules(self) -> Iterator[nn.Module]: ...
    def parameters(self) -> Iterator[nn.Parameter]: ...
    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]: ...
    def named_buffers(self) -> Iterator[tuple[str, Tensor]]: ...
