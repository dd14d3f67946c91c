"""A recurrent layer in ONNX: its step as plain operators, or a window as one Scan."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, fx, nn

from lmkit import states
from lmkit.onnx_export.emitter import Emitter, View
from lmkit.onnx_export.graph import BATCH, Graph, tensor
from lmkit.onnx_export.tracing import trace
from lmkit.recurrence.cells import Cell, GatedCell, LinearCell
from lmkit.recurrence.engine import GatedStep, plain_product
from lmkit.recurrence.projection import owns_products
from lmkit.recurrence.stack import Recurrent
from lmkit.states import State

EXAMPLE_ROWS, EXAMPLE_STEPS = 3, 5
"""The sizes of what is traced: neither 1, which torch takes for a constant, nor the same."""


@torch.library.custom_op("lmkit::layer", mutates_args=())
def layer(xs: Tensor, state: list[Tensor], index: int, width: int) -> list[Tensor]:
    """A layer as one operation of a traced model: ys (time, batch, width) and the leaves of its state."""
    raise NotImplementedError("a layer is written by its cell, and never run")


@layer.register_fake
def _shapes(xs: Tensor, state: list[Tensor], index: int, width: int) -> list[Tensor]:
    return [xs.new_empty(*xs.shape[:2], width), *(torch.empty_like(leaf) for leaf in state)]


LAYER = "lmkit.layer.default"
"""The name of the operation, for `LayerWriter`."""


Step = Callable[..., list[View]]
"""Called with an emitter, the inputs of a step and a list of the leaves before it; gives y and the leaves after."""


class OpaqueCell(Cell):
    """A cell in whose place the tracer sees one operation; index: its number among the cells of the model."""

    def __init__(self, cell: Cell, index: int) -> None:
        super().__init__(cell.input_size, cell.hidden_size, cell.options)
        self._inner = (cell,)  # in a tuple, so that its weights are not those of the traced model
        self._index = index

    @property
    def output_size(self) -> int:
        return self._inner[0].output_size

    def initial_state(self, batch_size: int) -> State:
        return self._inner[0].initial_state(batch_size)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        ys, state = self.sequence(x[None], state)
        return ys[0], state

    def sequence(self, xs: Tensor, state: State, resets: Tensor | None = None) -> tuple[Tensor, State]:
        ys, *leaves = layer(xs, states.leaves(state), self._index, self.output_size)
        return ys, packed(state, leaves)


@contextmanager
def opaque_layers(model: nn.Module) -> Iterator[list[Cell]]:
    """Inside the block the cells of the model's layers are OpaqueCells; gives the cells by their numbers."""
    cells: list[Cell] = []
    places: list[tuple[nn.ModuleList, int]] = []
    for part in model.modules():
        if isinstance(part, Recurrent):
            for place, cell in enumerate(part.layers):
                places.append((part.layers, place))
                cells.append(cast(Cell, cell))
    try:
        for index, (layers, place) in enumerate(places):
            layers[place] = OpaqueCell(cells[index], index)
        yield cells
    finally:
        for cell, (layers, place) in zip(cells, places, strict=True):
            layers[place] = cell


def packed(like: State, leaves: Sequence[Tensor]) -> State:
    """A state of this structure with these leaves."""
    rest = iter(leaves)
    return states.apply(lambda _: next(rest), like)


class _GatedBody(nn.Module):
    """A step of a gated cell from W_ih x + b_ih."""

    def __init__(self, cell: GatedCell) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor, leaves: list[Tensor]) -> list[Tensor]:
        y, new = GatedStep(self.cell, plain_product)(x, tuple(leaves))
        return [y, *new]


class _CellBody(nn.Module):
    """A step of any cell."""

    def __init__(self, cell: Cell) -> None:
        super().__init__()
        self.cell = cell
        self.like = cell.initial_state(1)

    def forward(self, x: Tensor, leaves: list[Tensor]) -> list[Tensor]:
        y, new = self.cell(x, packed(self.like, leaves))
        return [y, *states.leaves(new)]


class _Coefficients(nn.Module):
    """a and b of a linear cell."""

    def __init__(self, cell: LinearCell) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, z: Tensor) -> list[Tensor]:
        return list(self.cell.coefficients(z))


class _Output(nn.Module):
    """y of a linear cell."""

    def __init__(self, cell: LinearCell) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, h: Tensor, z: Tensor) -> list[Tensor]:
        return [self.cell.output(h, z)]


class LayerWriter:
    """Writes the layers of a traced model. cells: by their numbers. window: Scans over (time, batch, width)."""

    def __init__(self, cells: Sequence[Cell], *, window: bool) -> None:
        self.cells = cells
        self.window = window

    def __call__(
        self, e: Emitter, node: fx.Node, xs: View, leaves: Sequence[View], index: int, width: int
    ) -> list[View]:
        cell = self.cells[index]
        # A step has one axis of time in the traced model, and none in the file.
        x = xs if self.window else _without_time(e, xs)
        y, *after = self._linear(e, cell, x, leaves) if _is_linear(cell) else self._steps(e, cell, x, leaves)
        return [y if self.window else _with_time(y), *after]

    def _steps(self, e: Emitter, cell: Cell, x: View, leaves: Sequence[View]) -> list[View]:
        """y and the new state of a cell that is gated, or of any other."""
        body: nn.Module
        if owns_products(cell):
            gated = cast(GatedCell, cell)
            body, x = _GatedBody(gated), product(e, x, gated.weight_ih, gated.bias_ih)
            width = len(gated.weight_ih)
        else:
            body, width = _CellBody(cell), cell.input_size
        state = [leaf.clone() for leaf in states.leaves(cell.initial_state(EXAMPLE_ROWS))]
        program = trace(body, [torch.zeros(EXAMPLE_ROWS, width), state], [[0], [0]])

        def step(inner: Emitter, x: View, leaves: Sequence[View]) -> list[View]:
            return inner.run(program, [x, *leaves])

        return self._looped(e, step, [x], leaves)

    def _linear(self, e: Emitter, cell: Cell, x: View, leaves: Sequence[View]) -> list[View]:
        """The same for h_t = a_t h_{t-1} + b_t, with a and b of all steps before the loop, and y after it."""
        assert isinstance(cell, LinearCell)
        inputs = [x]
        for before in leaves[1:]:
            inputs.append(self._shifted(e, inputs[-1], before))
        joined = e.graph.node("Concat", [e.name(one) for one in inputs], axis=-1) if len(inputs) > 1 else ""
        z = product(e, _like(x, joined) if joined else x, cell.weight, cell.bias)
        time = (EXAMPLE_STEPS,) if self.window else ()
        free = [0, 1] if self.window else [0]
        example = torch.zeros(*time, EXAMPLE_ROWS, len(cell.weight))
        a, b = e.run(trace(_Coefficients(cell), [example], [free]), [z])

        def step(inner: Emitter, a: View, b: View, leaves: Sequence[View]) -> list[View]:
            scaled = inner.graph.node("Mul", [inner.name(a), inner.name(leaves[0])])
            h = View.whole(inner.graph.node("Add", [scaled, inner.name(b)]), a.dtype, 2)
            return [h, h]

        hs, last = self._looped(e, step, [a, b], leaves[:1])
        shape = (*time, EXAMPLE_ROWS, cell.hidden_size)
        (y,) = e.run(trace(_Output(cell), [torch.zeros(shape), example], [free, free]), [hs, z])
        return [y, last, *(self._last(e, one) for one in inputs[:-1])]

    def _shifted(self, e: Emitter, xs: View, before: View) -> View:
        """The input of each step before: `before` of the first."""
        if not self.window:
            return before
        ends = [e.graph.ints(bound) for bound in (0, -1, 0)]
        earlier = e.graph.node("Slice", [e.name(xs), *ends])
        return _like(xs, e.graph.node("Concat", [e.name(_with_time(before)), earlier], axis=0))

    def _last(self, e: Emitter, xs: View) -> View:
        """The input of the last step."""
        if not self.window:
            return xs
        name = e.graph.node("Gather", [e.name(xs), e.graph.scalar(-1, torch.int64)], axis=0)
        return View.whole(name, xs.dtype, len(xs.axes) - 1)

    def _looped(self, e: Emitter, step: Step, xs: Sequence[View], leaves: Sequence[View]) -> list[View]:
        """y and the new state by one step, or ys and the last state by one Scan."""
        if not self.window:
            return step(e, *xs, leaves)
        inner = e.inside()
        body = inner.graph
        states_in = [_renamed(body, leaf, drop=0) for leaf in leaves]
        slices = [_renamed(body, one, drop=1) for one in xs]
        y, *after = step(inner, *slices, states_in)
        outputs = [(f"{body.fresh('next')}", one) for one in after] + [(body.fresh("y"), y)]
        for name, value in outputs:
            body.name_as(inner.name(value), name)
        graph = body.proto(
            body.fresh("steps"),
            [_declared(one.name, one) for one in (*states_in, *slices)],
            [_declared(name, value) for name, value in outputs],
        )
        names = e.graph.nodes(
            "Scan", [e.name(one) for one in (*leaves, *xs)], len(outputs),
            body=graph, num_scan_inputs=len(xs),
        )  # fmt: skip
        *last, ys = names
        return [
            View.whole(ys, y.dtype, len(y.axes) + 1),
            *(View.whole(name, leaf.dtype, len(leaf.axes)) for name, leaf in zip(last, leaves, strict=True)),
        ]


def product(e: Emitter, x: View, weight: Tensor, bias: Tensor) -> View:
    """W x + b of each row."""
    return _like(x, e.graph.node("Add", [e.graph.product(e.name(x), weight), e.graph.constant(bias)]))


def _is_linear(cell: Cell) -> bool:
    """Whether the cell is linear in its state, and runs as LinearCell does."""
    kind = type(cell)
    own = isinstance(cell, LinearCell)
    return own and kind.forward is LinearCell.forward and kind.sequence is LinearCell.sequence


def _without_time(e: Emitter, xs: View) -> View:
    """(batch, width) of (1, batch, width)."""
    time, *rest = xs.axes
    if time is None:
        return View(xs.name, xs.dtype, tuple(rest))
    name = e.graph.node("Squeeze", [xs.name, e.graph.ints(time)])
    return View(name, xs.dtype, tuple(axis if axis is None or axis < time else axis - 1 for axis in rest))


def _with_time(x: View) -> View:
    return View(x.name, x.dtype, (None, *x.axes))


def _like(x: View, name: str) -> View:
    return View.whole(name, x.dtype, len(x.axes))


def _renamed(body: Graph, value: View, *, drop: int) -> View:
    """An input of the body: the same without its first `drop` axes."""
    return View.whole(body.fresh("in"), value.dtype, len(value.axes) - drop)


def _declared(name: str, value: View) -> Any:
    """An input or output of a body, whose widths the graph around it gives."""
    return tensor(name, value.dtype, [BATCH, *(None for _ in value.axes[1:])])
