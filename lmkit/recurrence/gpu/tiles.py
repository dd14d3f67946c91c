"""A step of a cell in tiles: some rows of the batch by some units, which one program of a kernel has."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch import Tensor


class NoTilesError(Exception):
    """Why a step cannot be taken apart into tiles."""


class Tile(NamedTuple):
    """A value (rows, units) of the kernel. rows, units: whether it differs between rows, between units."""

    name: str
    rows: bool
    units: bool


Value = Tile | float


class Load(NamedTuple):
    """out[unit] = source[first + stride * unit], of each row or of a tensor that is the same in all rows."""

    out: Tile
    source: str
    first: int
    stride: int


class Compute(NamedTuple):
    """out = an expression of Triton, with the arguments in place of {0}, {1} ..."""

    out: Tile
    expression: str
    arguments: tuple[Value, ...]


class Total(NamedTuple):
    """out = the sum ("max", "min") of the tiles over all units."""

    out: Tile
    how: str
    tiles: tuple[Tile, ...]


class Product(NamedTuple):
    """outs[i] = the tiles side by side (rows, K), by a matrix (K, units) made of elements of `weight`.

    places: for each of outs (K, units) the element's place in the weight, or -1 for a 0.
    """

    outs: list[Tile]
    tiles: tuple[Tile, ...]
    weight: str
    places: list[Tensor]


Statement = Load | Compute | Total | Product


class Steps(NamedTuple):
    """A step as statements, each of which uses only what is above it.

    outputs: for each output of the graph its tiles, in the order of its columns. outer: computes, from the
    placeholders that are the same in all rows, the tensors that `Load` and `Product` name.
    """

    statements: list[Statement]
    outputs: list[list[Value]]
    outer: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
