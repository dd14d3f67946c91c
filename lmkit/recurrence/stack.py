"""`Recurrent`: layers of any cell over any sequence, a drop-in for torch.nn's recurrent layers."""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from lmkit import states
from lmkit.errors import PluginError
from lmkit.options import Chosen, choose
from lmkit.plugins import Part
from lmkit.recurrence.cells import Cell
from lmkit.states import State


class Recurrent(nn.Module):
    """`num_layers` cells, each reading the outputs of the one below.

    cell: a registered name ("gru", "my-plugin:cell"), a `Chosen` with options, or a class called as
    `cell(input_size, hidden_size)`. dropout: on the outputs of every layer but the last, while training.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        cell: str | Chosen | Callable[[int, int], Cell] = "gru",
        *,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        make = cell_maker(cell)
        layers: list[Cell] = []
        for _ in range(num_layers):
            layers.append(make(layers[-1].output_size if layers else input_size, hidden_size))
        self.layers = nn.ModuleList(layers)
        self.dropout = nn.Dropout(dropout)

    @property
    def output_size(self) -> int:
        """The width of the outputs."""
        return cast(Cell, self.layers[-1]).output_size

    def initial_state(self, batch_size: int) -> State:
        """The state of every layer in which nothing has been read."""
        return tuple(cast(Cell, layer).initial_state(batch_size) for layer in self.layers)

    def forward(
        self, x: Tensor, state: State | None = None, *, reset: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """x (batch, time, input_size) to outputs (batch, time, output_size) and the state after them.

        reset: (batch, time) bool; `reset[b, t]` puts row b at the initial state before step t.
        """
        if state is None:
            state = self.initial_state(len(x))
        assert isinstance(state, tuple)
        ys = x.transpose(0, 1)
        resets = None if reset is None or not bool(reset.any()) else reset.t()
        new_state = []
        for index, (layer, before) in enumerate(zip(self.layers, state, strict=True)):
            ys, after = cast(Cell, layer).sequence(ys if index == 0 else self.dropout(ys), before, resets)
            new_state.append(after)
        return ys.transpose(0, 1), tuple(new_state)


def cell_maker(cell: str | Chosen | Callable[[int, int], Cell]) -> Callable[[int, int], Cell]:
    """What makes a cell from its input and hidden size; a plugin's cell is tried, and PluginError if it fails."""
    if isinstance(cell, str):
        cell = choose("cell", cell, "cell")
    if isinstance(cell, Chosen):
        target, options, part = cell.load(), cell.options, cell.part()
        if part.plugin.builtin:
            return lambda input_size, hidden_size: target(input_size, hidden_size, options)
        return lambda input_size, hidden_size: _tried(part, lambda: target(input_size, hidden_size, options))
    return cell


def _tried(part: Part, make: Callable[[], Cell]) -> Cell:
    """The cell that `make` gives; PluginError unless two steps of it have the shapes that it promises."""
    with part.tried():
        cell = make()
        # On the device "meta" there are no values, which a cell may ask for.
        problem = None if torch.empty(0).is_meta else _wrong_shapes(cell)
    if problem:
        raise PluginError(f"{part.describe()}: {problem}; report it to its author")
    return cell


@torch.no_grad()
def _wrong_shapes(cell: Cell) -> str | None:
    """What is wrong with the shapes after two steps of two rows, or None."""
    with torch.random.fork_rng(devices=[]):  # a cell with dropout leaves the random state of a run as it was
        before = cell.initial_state(2)
        ys, after = cell.sequence(torch.zeros(2, 2, cell.input_size), before)
    wanted = (2, 2, cell.output_size)
    if ys.shape != wanted:
        return f"its output has the shape {tuple(ys.shape)}, wanted {wanted}"
    shapes, old = ([tuple(leaf.shape) for leaf in states.leaves(state)] for state in (after, before))
    return f"its state has the shapes {shapes}, at the start {old}" if shapes != old else None
