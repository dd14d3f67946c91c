"""The three classes of recurrent cells, from "anything goes" to "the engine owns the products"."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmkit import states
from lmkit.errors import UsageError
from lmkit.neural.products import Projection
from lmkit.recurrence import engine, tiers
from lmkit.recurrence.linear_scan import linear_scan
from lmkit.states import State


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
        self.tier = "auto"
        """How `sequence` runs: a name of `tiers`, or "auto"; `use_tier` sets it."""

    @classmethod
    def tiers(cls) -> tuple[str, ...]:
        """The names of the ways through a sequence, fastest first."""
        return ("plain",) if cls.sequence is Cell.sequence else ("own", "plain")

    def use_tier(self, tier: str) -> None:
        """Run by this tier from now on; UsageError where the cell has none of that name."""
        if tier not in ("auto", *self.tiers()):
            raise self._no_tier(tier)
        self.tier = tier

    def _no_tier(self, tier: str) -> UsageError:
        names = ", ".join(("auto", *self.tiers()))
        return UsageError(f"{type(self).__name__} has no tier '{tier}'; give --tier one of {names}")

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
        return engine.each_step(self, self, xs, state, resets)

    def run(self, xs: Tensor, state: State, resets: Tensor | None = None) -> tuple[Tensor, State]:
        """`sequence` by the tier that was asked for: a cell's own `sequence` need not know of tiers."""
        return (Cell.sequence if self.tier == "plain" else type(self).sequence)(self, xs, state, resets)

    def reset(self, state: State, resets: Tensor | None, t: int) -> State:
        """`initial_state` in the rows that `resets[t]` names; a choice, since a product would keep a NaN."""
        assert resets is not None
        return states.where(resets[t], self.initial_state(resets.shape[1]), state)


class GatedCell(Cell):
    """A cell whose step is elementwise, or nearly, after two matrix products that the engine owns.

    A subclass names its state (`state_names`; the first is the output), says how many gates it has, and writes
    `gates`: x = W_ih x_t + b_ih and h = W_hh h_{t-1} + b_hh, each (batch, num_gates * hidden_size), come ready.
    recurrent: False when there is no W_hh (h is then None). family: "rnn", "lstm", "gru" or "gru-v3" when other
    libraries have the same cell, whose weights `from_layout` then loads.
    """

    num_gates: ClassVar[int] = 1
    state_names: ClassVar[tuple[str, ...]] = ("h",)
    recurrent: ClassVar[bool] = True
    family: ClassVar[str | None] = None

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
        """The new state, a tensor for each of `state_names` (or the tensor itself where there is one).

        In training it is compiled, traced once for each shape: what it does must follow from its arguments, from
        parameters and buffers, and from plain attributes (numbers, strings) of the cell.
        """

    def load_weights(self, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor) -> None:
        """Take the weights that `from_layout` gives, without gradients, with torch.nn's shapes and order of gates.

        Order: i, f, g, o of the LSTM and r, z, n of both GRUs. "gru-v3" takes the sum of the biases.
        """
        given = {"weight_ih": weight_ih, "weight_hh": weight_hh, "bias_ih": bias_ih, "bias_hh": bias_hh}
        for name, weight in given.items():
            self.get_parameter(name).copy_(weight)

    def torch_kernel(self) -> Callable[..., Any] | None:
        """torch's own function for this very cell (torch.lstm, torch.gru ...), with torch.nn's weights, if any."""
        return None

    @classmethod
    def tiers(cls) -> tuple[str, ...]:
        if cls.sequence is not GatedCell.sequence:
            return super().tiers()
        own = () if cls.torch_kernel is GatedCell.torch_kernel else ("torch",)
        return (*own, "compiled", "loop", "plain")

    def use_tier(self, tier: str) -> None:
        if tier == "torch" and self.torch_kernel() is None:
            raise self._no_tier(tier)
        super().use_tier(tier)

    def initial_state(self, batch_size: int) -> tuple[Tensor, ...]:
        zeros = self.weight_ih.new_zeros(batch_size, self.hidden_size)
        return tuple(zeros for _ in self.state_names)

    def projection(self) -> Projection | None:
        """What the output goes through before anything reads it; the projected output is then state[0].

        The rest of the state is that of `gates`. ProjectedCell has one.
        """
        return None

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        step = engine.GatedStep(self, engine.plain_product)
        return step(F.linear(x, self.weight_ih, self.bias_ih), state)

    def new_state(self, x: Tensor, h: Tensor | None, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """What `gates` gives, as a tuple."""
        new = self.gates(x, cast(Tensor, h), state)
        return (new,) if isinstance(new, Tensor) else tuple(new)

    def sequence(self, xs: Tensor, state: State, resets: Tensor | None = None) -> tuple[Tensor, State]:
        return engine.run_gated(self, xs, state, resets)


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

    @classmethod
    def tiers(cls) -> tuple[str, ...]:
        return ("loop", "plain") if cls.sequence is LinearCell.sequence else super().tiers()

    def sequence(self, xs: Tensor, state: State, resets: Tensor | None = None) -> tuple[Tensor, State]:
        if len(xs) == 0:
            return xs.new_zeros(0, xs.shape[1], self.output_size), state
        tiers.announce(self, "loop")
        h, *past = states.leaves(state)
        blank, *blank_past = states.leaves(self.initial_state(xs.shape[1])) if resets is not None else (None,)
        # Each input beside the ones before it, nearest first; what a row read before its reset is blank.
        inputs = [xs]
        for index, before in enumerate(past):
            earlier = torch.cat([before[None], inputs[-1][:-1]])
            if resets is not None:
                earlier = torch.where(resets[..., None], blank_past[index], earlier)
            inputs.append(earlier)
        z = F.linear(torch.cat(inputs, -1) if past else xs, self.weight, self.bias)
        a, b = self.coefficients(z)
        hs = linear_scan(a, b, h, blank, resets)
        return self.output(hs, z), (hs[-1].clone(), *(earlier[-1] for earlier in inputs[:-1]))


def uniform_parameters(cell: Cell) -> None:
    """Uniform within 1/sqrt(hidden_size), as torch.nn's recurrent layers start."""
    bound = cell.hidden_size**-0.5
    for parameter in cell.parameters(recurse=False):
        nn.init.uniform_(parameter, -bound, bound)


@torch.no_grad()
def add_forget_bias(options: Any, bias: Tensor) -> None:
    """Add `options.forget_bias`, if there is one, to the forget gate's part of a new cell's bias.

    options: those of a cell, `ForgetGateOptions` or None. bias: a view of the parameter, changed in place.
    """
    if options is not None and options.forget_bias is not None:
        bias += options.forget_bias
