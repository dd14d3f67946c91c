"""`Recurrent`: layers of any cell over any sequence, a drop-in for torch.nn's recurrent layers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from lmkit.blame import tried
from lmkit.errors import PluginError, UsageError, suggest
from lmkit.host_copies import derive, on_host, values_known
from lmkit.neural.sizes import per_layer
from lmkit.option_fields import fields_of
from lmkit.options import Chosen, check_value, choose, listed_names
from lmkit.part_files import options_of
from lmkit.plugins import Part
from lmkit.recurrence import tiers
from lmkit.recurrence.cells import Cell
from lmkit.recurrence.dropout import check_weight_drop, drop, sequence_with_dropped_weight
from lmkit.recurrence.interfaces import Gated
from lmkit.recurrence.projection import ProjectedCell
from lmkit.recurrence.single_step import step
from lmkit.recurrence.stack_options import StackOptions
from lmkit.recurrence.torch_window import lay_weights_together, on_gpu, one_call, torch_window
from lmkit.recurrence.trial import problem_of
from lmkit.specs import NoOptions
from lmkit.states import State

ARGUMENTS = ("num_layers", "cell", "options", "first_residual")
"""The optional arguments of `Recurrent`, to suggest for a misspelt one."""

CellLike = str | Chosen | Callable[[int, int], Cell]


class Recurrent(nn.Module):
    """`num_layers` cells, each reading the outputs of the one below.

    hidden_size, cell: one for all layers, or one for each, from the bottom; "lstm,gru" names two cells.
    cell: a registered name ("gru", "my-plugin:cell"), a `Chosen` with options, or a class, called as
    `cell(input_size, hidden_size)`, and with the defaults of its options if it has any (`options: MyOptions`).
    num_layers: None is as many as are listed, else one.
    options: a model's options, which inherit `StackOptions`; None: its defaults, without dropout. settings: fields of
    `StackOptions` by name, which override `options`: `Recurrent(5, 4, cell="lstm", norm="layer", dropout=0.2)`.
    first_residual: the lowest layer, counted from 0, whose input `residual` adds.
    Raises UsageError for an unknown setting or a wrong value, where the lists differ in length, and where a cell cannot
    honour an option.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int | Sequence[int],
        num_layers: int | None = None,
        cell: CellLike | Sequence[CellLike] = "gru",
        *,
        options: StackOptions | None = None,
        first_residual: int = 0,
        **settings: Any,
    ) -> None:
        super().__init__()
        _check(settings)
        self.options = replace(options or StackOptions(dropout=0.0), **settings)
        self.first_residual = first_residual
        cells = (listed_names(cell) or [cell]) if isinstance(cell, str) else cell
        sizes, cells = per_layer(num_layers, hidden_size, cells if isinstance(cells, Sequence) else [cells])
        makers: dict[int, Callable[[int, int], Cell]] = {id(one): cell_maker(one) for one in cells}
        layers, norms, shortcuts = [], [], []
        width = input_size
        for size, one in zip(sizes, cells, strict=True):
            layer = self._constrained(makers[id(one)](width, size))
            layers.append(layer)
            norms.append(make_norm(self.options.norm, width))
            shortcuts.append(self._shortcut(len(layers) - 1, width, layer.output_size))
            width = layer.output_size
        self.output_size = width
        """The width of the outputs."""
        self.layers = nn.ModuleList(layers)
        self.norms = nn.ModuleList(norms)
        self.shortcuts = nn.ModuleList(shortcuts)
        # The sum that residual layers write to has no norm.
        self.last_norm = make_norm(self.options.norm if self.options.residual else "none", width)

    def initial_state(self, batch_size: int) -> State:
        """The state of every layer in which nothing has been read."""
        return tuple(cast(Cell, layer).initial_state(batch_size) for layer in self.layers)

    def forward(
        self, x: Tensor, state: State | None = None, *, reset: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """x (batch, time, input_size) to outputs (batch, time, output_size) and the state after them.

        reset: (batch, time) bool; `reset[b, t]` puts row b at the initial state before step t.
        """
        outputs, state = self._outputs(x, state, reset, all_layers=False)
        return outputs[-1], state

    def layer_outputs(
        self, x: Tensor, state: State | None = None, *, reset: Tensor | None = None
    ) -> tuple[list[Tensor], State]:
        """The same with the outputs of every layer, each (batch, time, width of the layer), from the bottom."""
        return self._outputs(x, state, reset, all_layers=True)

    def _outputs(
        self, x: Tensor, state: State | None, reset: Tensor | None, *, all_layers: bool
    ) -> tuple[list[Tensor], State]:
        """The outputs of the layers and the state after them; without `all_layers`, some below the last may lack."""
        before = cast(tuple[State, ...], self.initial_state(len(x)) if state is None else state)
        ys = x.transpose(0, 1)
        if reset is not None and values_known() and not bool(on_host(reset).any()):
            reset = None
        resets = None if reset is None else derive(Tensor.t, reset)
        parts = list(zip(self.layers, self.norms, self.shortcuts, before, strict=True))
        outputs, new_state = [], []
        for group in [(index,) for index in range(len(parts))] if all_layers else self._groups(ys):
            if len(group) > 1 and tiers.takes_torch(cast(Gated, parts[group[0]][0]), ys, resets):
                cells, _, _, states = zip(*parts[group[0] : group[-1] + 1], strict=True)
                ys, after = torch_window(cast(Any, cells), ys, cast(Any, states), resets)
                outputs.append(ys.transpose(0, 1))
                new_state += after
                continue
            for index in group:
                ys, after = self._layer(index, *parts[index], ys, resets)
                outputs.append(ys.transpose(0, 1))
                new_state.append(after)
        outputs[-1] = self.last_norm(ys).transpose(0, 1)
        return outputs, tuple(new_state)

    def _layer(
        self,
        index: int,
        cell: nn.Module,
        norm: nn.Module,
        shortcut: nn.Module,
        state: State,
        xs: Tensor,
        resets: Tensor | None,
    ) -> tuple[Tensor, State]:
        """The output of a layer, with what lies between it and the one below, and its last state."""
        inputs = norm(xs)
        if index > 0 and self.training:
            locked_dim = 0 if self.options.locked else None
            inputs = drop(inputs, self.options.dropout, rows_dim=1, locked_dim=locked_dim)
        ys, after = self._run(cast(Cell, cell), inputs, state, resets)
        return (ys + shortcut(xs) if self._is_residual(index) else ys), after

    def _groups(self, xs: Tensor) -> list[tuple[int, ...]]:
        """The layers from the bottom, in groups that one call of torch's kernel may run."""
        groups: list[tuple[int, ...]] = [(index,) for index in range(len(self.layers))]
        options = self.options
        if not on_gpu(xs) or options.norm != "none" or options.dropout or options.weight_drop:
            return groups
        for index in reversed(range(1, len(groups))):
            is_residual = self._is_residual(index - 1) or self._is_residual(index)
            if not is_residual and one_call(self.layers[index - 1], self.layers[index]):
                groups[index - 1] += groups.pop(index)
        return groups

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move the module, and lay the weights of cuDNN's calls together, which are where `fn` has put them."""
        super()._apply(fn, recurse)
        weight = next(self.parameters(), None)
        if weight is not None:
            for group in self._groups(weight):
                lay_weights_together([self.layers[index] for index in group])
        return self

    def _is_residual(self, index: int) -> bool:
        return self.options.residual and index >= self.first_residual

    def _run(self, cell: Cell, xs: Tensor, state: State, resets: Tensor | None) -> tuple[Tensor, State]:
        if self.training and self.options.weight_drop:
            return sequence_with_dropped_weight(cell, self.options.weight_drop, xs, state, resets)
        if xs.shape[0] == 1 and resets is None and not torch.is_grad_enabled():
            y, state = step(cell, xs[0], state)
            return y[None], state
        return cell.run(xs, state, resets)

    def _constrained(self, cell: Cell) -> Cell:
        """The cell with the projection and the clips that the options ask for."""
        wanted = (self.options.projection_size, self.options.projection_clip, self.options.cell_clip)
        layer = cell if wanted == (None, None, None) else ProjectedCell(cell, *wanted)
        if self.options.weight_drop:
            check_weight_drop(layer)
        layer.use_tier(self.options.tier)
        return layer

    def _shortcut(self, index: int, input_size: int, output_size: int) -> nn.Module:
        """What a residual connection puts the layer's input through: a linear map where the widths differ."""
        if not self._is_residual(index) or input_size == output_size:
            return nn.Identity()
        return nn.Linear(input_size, output_size, bias=False)


def _check(settings: Mapping[str, Any]) -> None:
    """Raise UsageError unless these are fields of `StackOptions` with allowed values."""
    known = {item.name: item for item in fields_of(StackOptions)}
    for name, value in settings.items():
        if name not in known:
            raise UsageError(f"Recurrent: unknown option '{name}'; {suggest(name, (*known, *ARGUMENTS))}")
        if problem := check_value(known[name], value):
            raise UsageError(f"Recurrent: {name} {problem}")


def make_norm(name: str, width: int) -> nn.Module:
    """The normalisation of a name: "layer" (Ba et al., 2016), "rms" (Zhang and Sennrich, 2019) or "none"."""
    if name == "none":
        return nn.Identity()
    return {"layer": nn.LayerNorm, "rms": nn.RMSNorm}[name](width)


def cell_maker(cell: CellLike) -> Callable[[int, int], Cell]:
    """What makes a cell from its input and hidden size; a plugin's cell is tried, and PluginError if it fails."""
    if isinstance(cell, str):
        cell = choose("cell", cell, "cell")
    if isinstance(cell, Chosen):
        target, options, part = cell.load(), cell.options, cell.part()
        if part.plugin.builtin:
            return lambda input_size, hidden_size: target(input_size, hidden_size, options)
        return lambda input_size, hidden_size: _tried(part, lambda: target(input_size, hidden_size, options))
    if isinstance(cell, type) and (options := options_of(cell, cell.__name__)) is not NoOptions:
        return lambda input_size, hidden_size: cell(input_size, hidden_size, options())
    return cell


def _tried(part: Part, make: Callable[[], Cell]) -> Cell:
    """The cell that `make` gives; PluginError unless its methods give what its class promises."""
    with tried(part):
        cell = make()
        # On the device "meta" there are no values, which a cell may ask for.
        problem = None if torch.empty(0).is_meta else problem_of(cell)
    if problem:
        raise PluginError(f"{part.describe()}: {problem}; {part.remedy}")
    return cell
