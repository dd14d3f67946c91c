"""Write the lines of a kernel: memory, meetings, and the statements of a step."""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor

from lmkit.recurrence.gpu.operations import LEAST, PAIRS
from lmkit.recurrence.gpu.tiles import Compute, Load, Product, Statement, Tile, Total, Value

K_BLOCK = 64
"""Columns of a panel that a product reads at once."""


class Layout(NamedTuple):
    """What the kernels know of a cell.

    units: hidden_size. gates: num_gates. states: tiles of each part of the state. summed, separate: `gates` get
    x + h, or x and h apart; neither for a cell without W_hh. reads_output: they read the first part of the state.
    trained: they have parameters of their own, whose gradient needs that of every new state.
    """

    units: int
    gates: int
    states: list[int]
    summed: bool
    separate: bool
    reads_output: bool
    trained: bool

    @property
    def recurrent(self) -> bool:
        """Whether there is W_hh."""
        return self.summed or self.separate

    def state_tiles(self) -> list[tuple[int, int]]:
        """The part and the place in it of each tile of the state."""
        return [(part, tile) for part, tiles in enumerate(self.states) for tile in range(tiles)]


class Panel(NamedTuple):
    """A product of `tiles` tiles: the kernel's arguments panel{i} and weight{i}, by its place among the panels.

    weight: RECURRENT or an outer tensor. places: (products, tiles * units, units), those of the matrix's elements in
    the weight, -1 for a 0.
    """

    tiles: int
    weight: str
    places: Tensor


class Kernel(NamedTuple):
    """The source of the kernel called `name`.

    pointers: its first arguments, in order. outer: which outer tensors it loads, as o_{name}. totals: how many it has.
    """

    name: str
    source: str
    pointers: list[str]
    panels: list[Panel]
    outer: list[str]
    totals: int


_SIZES = "T, B, SLICES: tl.constexpr, BB: tl.constexpr, HB: tl.constexpr, RESET: tl.constexpr, PRECISION: tl.constexpr"

_START = """\
    group = tl.program_id(0) // SLICES
    piece = tl.program_id(0) % SLICES
    rows = group * BB + tl.arange(0, BB)
    units = piece * HB + tl.arange(0, HB)
    real_rows = rows < B
    real_units = units < {units}
    real = real_rows[:, None] & real_units[None, :]
    blank = tl.zeros((BB, HB), tl.float32)"""


class Writer:
    """The lines of a kernel before, in and after its loop over the steps."""

    def __init__(self, name: str, layout: Layout) -> None:
        self._name, self._layout = name, layout
        self._head: list[str] = []
        self._body: list[str] = []
        self._tail: list[str] = []
        self._panels: list[Panel] = []
        self._outer: dict[str, None] = {}
        self._totals = 0
        # The first meeting of a step back comes before its statements.
        self._turn, self._meetings = ("t", 0) if name == "forward" else ("back", int(layout.recurrent))

    def head(self, *lines: str) -> None:
        """Add lines before the loop."""
        self._head += lines

    def body(self, *lines: str) -> None:
        """Add lines to the loop."""
        self._body += lines

    def tail(self, *lines: str) -> None:
        """Add lines after the loop."""
        self._tail += lines

    def kernel(self, loop: Sequence[str], pointers: Sequence[str]) -> Kernel:
        """The whole kernel; loop: the lines that begin a step."""
        numbered = [f"{kind}{i}" for i in range(len(self._panels)) for kind in ("panel", "weight")]
        every = [*pointers, "resets", "count", "parts", *numbered, *(f"o_{name}" for name in self._outer)]
        lines = [
            f"@triton.jit\ndef {self._name}({', '.join(every)}, {_SIZES}):",
            _START.format(units=self._layout.units),
            *_indented(self._head, 1),
            *_indented(loop, 1),
            *_indented(self._body, 2),
            *_indented(self._tail, 1),
        ]
        source = "\n".join(lines).replace("MEETINGS", str(self._meetings))
        return Kernel(self._name, source, every, self._panels, [*self._outer], self._totals)

    # Memory.

    def loaded(self, name: str, at: str, width: int, first: int, stride: int) -> str:
        """An expression: columns of a step of a tensor (time, batch, width * units), in float32."""
        row = f"(({at}) * B + rows) * {width * self._layout.units}"
        if not stride:
            return f"tl.load({name} + {row} + {first}, mask=real_rows, other=0.0)[:, None].to(tl.float32)"
        return f"tl.load({self._places(name, row, first, stride)}, mask=real, other=0.0).to(tl.float32)"

    def stored(self, name: str, at: str, width: int, first: int, stride: int, value: "Tile | str") -> str:
        """A statement that writes columns of a step."""
        row = f"(({at}) * B + rows) * {width * self._layout.units}"
        text = full(value) if isinstance(value, Tile) else value
        if not stride:
            return f"tl.store({name} + {row} + {first}, tl.max({text}, 1), mask=real_rows & (piece == 0))"
        return f"tl.store({self._places(name, row, first, stride)}, {text}.to({name}.dtype.element_ty), mask=real)"

    def state(self, name: str, part: int, tile: int, at: str) -> str:
        """`loaded`, of a tile of a part of the state."""
        units = self._layout.units
        return self.loaded(f"{name}{part}", at, self._layout.states[part], tile * units, 1)

    def stored_state(self, name: str, part: int, tile: int, at: str, value: str) -> str:
        """`stored`, of a tile of a part of the state."""
        units = self._layout.units
        return self.stored(f"{name}{part}", at, self._layout.states[part], tile * units, 1, value)

    def _places(self, name: str, row: str, first: int, stride: int) -> str:
        return f"{name} + ({row})[:, None] + ({first} + {stride} * units)[None, :]"

    # Statements.

    def statements(self, statements: Sequence[Statement], read: Callable[[Load], str]) -> None:
        """Write a step. read: the expression of a tile that `Load` takes from a tensor with rows.

        Statements that need no meeting come first, then those that need one, and so on.
        """
        phases: dict[str, int] = {}
        for statement in statements:
            inputs = (phases.get(tile.name, 0) for tile in _inputs(statement))
            phase = max(inputs, default=0) + isinstance(statement, Total | Product)
            phases |= {out.name: phase for out in _outs(statement)}
        gathered: list[str] = []
        for phase in range(max(phases.values(), default=0) + 1):
            if gathered:
                self.body(*self.meeting(self._turn, self._meetings), *gathered)
                self._meetings += 1
            gathered = []
            later = []
            for statement in statements:
                number = phases[_outs(statement)[0].name]
                if isinstance(statement, Load | Compute) and number == phase:
                    self._single(statement, read)
                elif isinstance(statement, Total | Product) and number == phase + 1:
                    later.append(statement)
            for statement in later:
                if isinstance(statement, Total):
                    self.body(self._part_of_total(statement))
                    gathered += self._total(statement)
                else:
                    panel = self.panel(len(statement.tiles), statement.weight, torch.stack(statement.places))
                    self.body(*self.shared(panel, statement.tiles, f"{self._turn} % 2"))
                    gathered += self.product(panel, [out.name for out in statement.outs], f"{self._turn} % 2")

    def _single(self, statement: Load | Compute, read: Callable[[Load], str]) -> None:
        out = statement.out.name
        if isinstance(statement, Compute):
            self.body(f"{out} = {statement.expression.format(*map(_text, statement.arguments))}")
        elif statement.out.rows:
            self.body(f"{out} = {read(statement)}")
        else:
            self._outer[statement.source] = None
            source, first, stride = f"o_{statement.source}", statement.first, statement.stride
            places = f"{source} + {first} + {stride} * units, mask=real_units, other=0.0)[None, :]"
            self.head(f"{out} = tl.load({places if stride else f'{source} + {first})'}.to(tl.float32)")

    def meeting(self, turn: str, number: int) -> list[str]:
        """Everybody waits for everybody; number: of the meeting within the step."""
        return [f"_meet(count + group, (({turn}) * MEETINGS + {number + 1}) * SLICES)"]

    def _part_of_total(self, total: Total) -> str:
        """A statement that shares a program's part of a total, whose number is the next."""
        tiles = reduce(PAIRS[total.how].format, (_text(tile) for tile in total.tiles))
        part = f"tl.{total.how}(tl.where(real, {tiles}, {LEAST[total.how]}), 1)"
        place = f"parts + (({self._totals} * 2 + {self._turn} % 2) * SLICES + piece) * B + rows"
        return f"tl.store({place}, {part}, mask=real_rows)"

    def _total(self, total: Total) -> list[str]:
        """Statements that put the parts of a total together, in one order."""
        place = f"parts + (({self._totals} * 2 + {self._turn} % 2) * SLICES + other) * B + rows"
        self._totals += 1
        name = f"{total.out.name}_rows"
        part = f'tl.load({place}, mask=real_rows, other=0.0, cache_modifier=".cg")'
        return [
            f"{name} = tl.zeros((BB,), tl.float32) + {LEAST[total.how]}",
            "for other in range(SLICES):",
            f"    {name} = {PAIRS[total.how].format(name, part)}",
            f"{total.out.name} = {name}[:, None]",
        ]

    def panel(self, tiles: int, weight: str, places: Tensor) -> int:
        """The number of a new panel."""
        self._panels.append(Panel(tiles, weight, places))
        return len(self._panels) - 1

    def shared(self, panel: int, tiles: Sequence[Value], half: str) -> list[str]:
        """Statements that put tiles into a half of a panel."""
        width = padded(self._layout.units)
        row = f"(({half}) * B + rows)[:, None] * {len(tiles) * width}"
        return [
            f"tl.store(panel{panel} + {row} + ({place * width} + units)[None, :], "
            f"{full(tile)}.to(panel{panel}.dtype.element_ty), mask=real)"
            for place, tile in enumerate(tiles)
        ]

    def product(self, panel: int, outs: Sequence[str], half: str) -> list[str]:
        """Statements that multiply a half of a panel by its matrices."""
        columns = self._panels[panel].tiles * padded(self._layout.units)
        left = f"panel{panel} + (({half}) * B + rows)[:, None] * {columns} + columns[None, :]"
        lines = [f"{out} = tl.zeros((BB, HB), tl.float32)" for out in outs]
        lines.append(f"for column in range(0, {columns}, {K_BLOCK}):")
        lines.append(f"    columns = column + tl.arange(0, {K_BLOCK})")
        lines.append(f'    left = tl.load({left}, mask=real_rows[:, None], other=0.0, cache_modifier=".cg")')
        for place, out in enumerate(outs):
            right = f"weight{panel} + ({place * columns} + columns)[:, None] * (SLICES * HB) + units[None, :]"
            lines.append(f"    {out} = tl.dot(left, tl.load({right}), {out}, input_precision=PRECISION)")
        return lines


def padded(units: int) -> int:
    """The columns of a tile in a panel."""
    return -(-units // K_BLOCK) * K_BLOCK


def _inputs(statement: Statement) -> list[Tile]:
    if isinstance(statement, Load):
        return []
    values = statement.arguments if isinstance(statement, Compute) else statement.tiles
    return [value for value in values if isinstance(value, Tile)]


def _outs(statement: Statement) -> list[Tile]:
    return statement.outs if isinstance(statement, Product) else [statement.out]


def _indented(lines: Iterable[str], by: int) -> list[str]:
    return ["    " * by + line for line in lines]


def _text(value: Value) -> str:
    if isinstance(value, Tile):
        return value.name
    return repr(value) if math.isfinite(value) else f'float("{value}")'


def full(value: Value) -> str:
    """A value as a tile of float32 with all its rows and units."""
    return f"({_text(value)} + blank)"
