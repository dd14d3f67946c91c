"""The three classes of recurrent cells, from "anything goes" to "the engine owns the products"."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmkit import states
from lmkit.states import State

UNROLL = 512
"""Input products are hoisted out of the loop for at most so many steps at once, which bounds their memory."""


class Cell(nn.Module, ABC):
    """A recurrence over vectors: x_t and the state before give y_t and the state after.

    A subclass writes `initial_state` and `forward`; the engine loops. It may write `sequence` where it knows
    a faster way that gives the same numbers.
    """

    def __init__(self, input_size: int, hidden_size: int, options: Any = None) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.options = options

    @property
    def output_size(self) -> int:
        """The width of y."""
        return self.hidden_size

    @abstractmethod
    def initial_state(self, batch_size: int) -> State:
        """The state in which nothing has been read; dimension 0 of every leaf is the batch."""

    @abstractmethod
    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One step: x (batch, input_size) to y (batch, output_size) and the new state."""

    def sequence(self, xs: Tensor, state: State, resets: Tensor | None = None) -> tuple[Tensor, State]:
        """All steps: xs (time, batch, input_size) to ys (time, batch, output_size) and the last state.

        resets: (time, batch) bool; `resets[t, b]` puts row b at `initial_state` before step t. Time comes
        first here, alone in lmkit, because a loop walks it.
        """
        ys = []
        at = reset_steps(resets)
        for t in range(len(xs)):
            if t in at:
                state = self.reset(state, resets, t)
            y, state = self(xs[t], state)
            ys.append(y)
        return (torch.stack(ys) if ys else xs.new_zeros(0, xs.shape[1], self.output_size)), state

    def reset(self, state: State, resets: Tensor | None, t: int) -> State:
        """`initial_state` in the rows that `resets[t]` names; a choice, since a product would keep a NaN."""
        assert resets is not None
        return states.where(resets[t], self.initial_state(resets.shape[1]), state)


class GatedCell(Cell):
    """A cell whose step is elementwise, or nearly, after two matrix products that the engine owns.

    A subclass names its state (`state_names`; the first is the output), says how many gates it has, and writes
    `gates`: x = W_ih x_t + b_ih and h = W_hh h_{t-1} + b_hh, each (batch, num_gates * hidden_size), come ready.
    recurrent: False when there is no W_hh (h is then None).
    """

    num_gates: ClassVar[int] = 1
    state_names: ClassVar[tuple[str, ...]] = ("h",)
    recurrent: ClassVar[bool] = True

    def __init__(self, input_size: int, hidden_size: int, options: Any = None) -> None:
        super().__init__(input_size, hidden_size, options)
        width = self.num_gates * hidden_size
        self.weight_ih = nn.Parameter(torch.empty(width, input_size))
        self.bias_ih = nn.Parameter(torch.empty(width))
        if self.recurrent:
            self.weight_hh = nn.Parameter(torch.empty(width, hidden_size))
            self.bias_hh = nn.Parameter(torch.empty(width))
        uniform_parameters(self)

    @abstractmethod
    def gates(self, x: Tensor, h: Tensor, state: tuple[Tensor, ...]) -> Tensor | tuple[Tensor, ...]:
        """The new state, a tensor for each of `state_names` (or the tensor itself where there is one)."""

    def initial_state(self, batch_size: int) -> tuple[Tensor, ...]:
        zeros = self.weight_ih.new_zeros(batch_size, self.hidden_size)
        return tuple(zeros for _ in self.state_names)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        return self._step(F.linear(x, self.weight_ih, self.bias_ih), state, self._transposed())

    def sequence(self, xs: Tensor, state: State, resets: Tensor | None = None) -> tuple[Tensor, State]:
        ys = []
        at = reset_steps(resets)
        # A contiguous transpose once a call: the product of each step then reads memory in order.
        transposed = self._transposed()
        for first in range(0, len(xs), UNROLL):
            products = F.linear(xs[first : first + UNROLL], self.weight_ih, self.bias_ih)
            for t, x in enumerate(products.unbind(0), start=first):
                if t in at:
                    state = self.reset(state, resets, t)
                y, state = self._step(x, state, transposed)
                ys.append(y)
        return (torch.stack(ys) if ys else xs.new_zeros(0, xs.shape[1], self.output_size)), state

    def _transposed(self) -> Tensor | None:
        return self.weight_hh.t().contiguous() if self.recurrent else None

    def _step(self, x: Tensor, state: State, transposed: Tensor | None) -> tuple[Tensor, State]:
        assert isinstance(state, tuple)
        h = None if transposed is None else torch.addmm(self.bias_hh, state[0], transposed)  # pyright: ignore
        new = self.gates(x, h, state)  # pyright: ignore[reportArgumentType]
        new = (new,) if isinstance(new, Tensor) else tuple(new)
        return new[0], new


class LinearCell(Cell):
    """A cell that is linear in its state: h_t = a_t * h_{t-1} + b_t, with a and b from the inputs alone.

    A subclass writes `coefficients`, and `output` where y is not h. z = W [x_t; x_{t-1}; ...] + b has
    num_gates * hidden_size features; input_width says how many inputs it sees (2 for QRNN).
    """

    num_gates: ClassVar[int] = 2
    input_width: ClassVar[int] = 1

    def __init__(self, input_size: int, hidden_size: int, options: Any = None) -> None:
        super().__init__(input_size, hidden_size, options)
        width = self.num_gates * hidden_size
        self.weight = nn.Parameter(torch.empty(width, self.input_width * input_size))
        self.bias = nn.Parameter(torch.empty(width))
        uniform_parameters(self)

    @abstractmethod
    def coefficients(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """a and b, each (..., hidden_size), from z (..., num_gates * hidden_size)."""

    def output(self, h: Tensor, z: Tensor) -> Tensor:
        """y from h and z of the same step."""
        return h

    def initial_state(self, batch_size: int) -> tuple[Tensor, ...]:
        past = self.input_width - 1
        h = self.weight.new_zeros(batch_size, self.hidden_size)
        return (h, *(self.weight.new_zeros(batch_size, self.input_size) for _ in range(past)))

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        ys, state = self.sequence(x[None], state)
        return ys[0], state

    def sequence(self, xs: Tensor, state: State, resets: Tensor | None = None) -> tuple[Tensor, State]:
        blank, *blank_past = states.leaves(self.initial_state(xs.shape[1]))
        h, *past = states.leaves(state)
        at = reset_steps(resets)

        def begun_anew(t: int, fresh: Tensor, carried: Tensor) -> Tensor:
            return carried if t not in at else torch.where(cast(Tensor, resets)[t][:, None], fresh, carried)

        # Each input beside the ones before it, nearest first.
        rows = []
        for t, x in enumerate(xs.unbind(0)):
            past = [begun_anew(t, fresh, p) for fresh, p in zip(blank_past, past, strict=True)]
            rows.append(torch.cat([x, *past], -1) if past else x)
            past = [x, *past][: len(past)]
        if not rows:
            return xs.new_zeros(0, xs.shape[1], self.output_size), state
        z = F.linear(torch.stack(rows) if past else xs, self.weight, self.bias)
        a, b = self.coefficients(z)
        hs = []
        for t, (a_t, b_t) in enumerate(zip(a.unbind(0), b.unbind(0), strict=True)):
            h = torch.addcmul(b_t, a_t, begun_anew(t, blank, h))
            hs.append(h)
        return self.output(torch.stack(hs), z), (h, *past)


def reset_steps(resets: Tensor | None) -> frozenset[int]:
    """The steps at which any row is reset: the others need no choice."""
    return frozenset() if resets is None else frozenset(resets.any(1).nonzero().flatten().tolist())


def uniform_parameters(cell: Cell) -> None:
    """Uniform within 1/sqrt(hidden_size), as torch.nn's recurrent layers start."""
    bound = cell.hidden_size**-0.5
    for parameter in cell.parameters(recurse=False):
        nn.init.uniform_(parameter, -bound, bound)
