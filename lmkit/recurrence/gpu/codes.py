"""The codes of the elements of a row, where they come from, and the statements that make tiles of them.

A kernel whose programs share the units needs to know which elements of a tensor (batch, k * units) belong to one unit,
and where units meet: in products and in totals over units. Every element of a row gets a number, its code, that says
where it comes from.
"""

from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lmkit.recurrence.gpu.tiles import Compute, Load, NoTilesError, Product, Statement, Tile, Total, Value


class Memory(NamedTuple):
    """Where codes come from: a tensor that the kernel loads."""

    source: str
    rows: bool


@dataclass(frozen=True, eq=False)
class Factors:
    """Where codes come from: a product of inputs (blocks, I), as codes, by elements of a weight (blocks, I, O)."""

    inputs: Tensor
    places: Tensor
    weight: str


class Origin(NamedTuple):
    """`length` codes from `first` on are elements of this; a number or a tile without units has one code."""

    first: int
    length: int
    of: "Memory | Factors | Value"


class Codes:
    """The codes so far, and the statements that make the tiles that somebody asked for.

    outer: names of tensors that are the same in all rows, as far as statements name them.
    """

    def __init__(self, batch: int, units: int) -> None:
        self.statements: list[Statement] = []
        self.outer: set[str] = set()
        self._batch, self.units = batch, units
        self._origins: list[Origin] = []
        self._end = self._named = 0
        self._made: dict[Any, Any] = {}

    def new(self, of: "Memory | Factors | Value", count: int) -> Tensor:
        """Codes for `count` elements."""
        first, self._end = self._end, self._end + count
        self._origins.append(Origin(first, count, of))
        return torch.arange(first, self._end)

    def origin(self, code: int) -> Origin:
        """Where a code comes from."""
        return self._origins[bisect(self._origins, code, key=lambda origin: origin.first) - 1]

    def codes_of(self, value: Value) -> Tensor:
        """The codes of a tile or a number: one, if it is the same for all units."""
        if value not in self._made:
            self._made[value] = self.new(value, self.units if isinstance(value, Tile) and value.units else 1)
        return self._made[value]

    def same(self, code: int) -> Value | None:
        """The value of a code that is the same for all units; None for an element of something wider."""
        _, count, of = self.origin(code)
        if isinstance(of, Memory):
            return self._loaded(of, 0, 0) if count == 1 else None
        if isinstance(of, Factors) or (isinstance(of, Tile) and of.units):
            return None
        return of

    def tile(self, run: Tensor) -> Value:
        """The tile with these codes, one for each unit."""
        if len(run) != self.units:
            raise NoTilesError("it has a value that is neither for each unit nor for all of them")
        first, count, of = self.origin(int(run[0]))
        if bool((run == run[0]).all()) and (same := self.same(int(run[0]))) is not None:
            return same
        offsets: list[int] = (run - first).tolist()
        if min(offsets) < 0 or max(offsets) >= count:
            raise NoTilesError("it puts units of different tensors beside one another")
        if isinstance(of, Factors):
            return self._multiplied(of, tuple(offsets))
        stride = offsets[1] - offsets[0]
        regular = offsets == [offsets[0] + stride * unit for unit in range(self.units)]
        if regular and isinstance(of, Memory):
            return self._loaded(of, offsets[0], stride)
        if regular and isinstance(of, Tile) and stride == 1:
            return of
        raise NoTilesError("it changes the order of units")

    def _loaded(self, memory: Memory, first: int, stride: int) -> Tile:
        key = (memory, first, stride)
        if key not in self._made:
            if not memory.rows:
                self.outer.add(memory.source)
            self._made[key] = self._fresh(memory.rows, stride != 0)
            self.statements.append(Load(self._made[key], memory.source, first, stride))
        return self._made[key]

    def _fresh(self, rows: bool, units: bool) -> Tile:
        self._named += 1
        return Tile(f"v{self._named}", rows, units)

    def compute(self, expression: str, values: Sequence[Value]) -> Tensor:
        """The codes of a computed tile; the same statement is made once."""
        key = (expression, *values)
        if key not in self._made:
            tiles = [value for value in values if isinstance(value, Tile)]
            out = self._fresh(any(t.rows for t in tiles), any(t.units for t in tiles))
            self.statements.append(Compute(out, expression, tuple(values)))
            self._made[key] = out
        return self.codes_of(self._made[key])

    def whole_tiles(self, codes: Tensor) -> list[Value] | None:
        """Values that together have exactly these codes; None if they are parts of tiles."""
        found: list[Value] = []
        at = 0
        while at < len(codes):
            value = self.same(int(codes[at]))
            if value is None and len(codes) - at < self.units:
                return None
            found.append(self.tile(codes[at : at + self.units]) if value is None else value)
            at += 1 if value is not None else self.units
        return found

    def over_units(self, values: Sequence[Value], how: str) -> list[Value]:
        """The values, with the total of the tiles over their units in place of these."""
        wide = tuple(v for v in values if isinstance(v, Tile) and v.units)
        rest = [v for v in values if v not in wide]
        if not wide:
            return rest
        if (how, wide) not in self._made:
            self._made[how, wide] = self._fresh(any(t.rows for t in wide), units=False)
            self.statements.append(Total(self._made[how, wide], how, wide))
        return [self._made[how, wide], *rest]

    def _multiplied(self, factors: Factors, columns: tuple[int, ...]) -> Tile:
        """The tile of these columns of a product."""
        if (factors, columns) not in self._made:
            product, place_of = self._begun(factors)
            places = torch.full((len(place_of), self.units), -1)
            for unit, column in enumerate(columns):
                block, output = divmod(column, factors.places.shape[-1])
                inputs = [place_of[code] for code in factors.inputs[block].tolist()]
                places[inputs, unit] = factors.places[block, :, output]
            product.places.append(places)
            product.outs.append(self._fresh(rows=True, units=True))
            self._made[factors, columns] = product.outs[-1]
        return self._made[factors, columns]

    def _begun(self, factors: Factors) -> tuple[Product, dict[int, int]]:
        """The statement of a product, and for the code of each input its place among the columns of the tiles."""
        if factors not in self._made:
            codes = factors.inputs.unique()
            tiles = self.whole_tiles(codes) or []
            narrow = not all(isinstance(tile, Tile) and tile.units for tile in tiles)
            if not tiles or narrow or any(len(block.unique()) < len(block) for block in factors.inputs):
                raise NoTilesError("it multiplies values that are not those of all units")
            product = Product([], tuple(tiles), factors.weight, [])  # pyright: ignore[reportArgumentType]
            self.outer.add(factors.weight)
            self.statements.append(product)
            self._made[factors] = product, {code: place for place, code in enumerate(codes.tolist())}
        return self._made[factors]
