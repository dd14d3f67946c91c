"""Take a traced step of a cell apart into tiles, node by node.

Operations that only move elements are applied to the codes of the elements; others ask for the tiles of their arguments
and make new ones.
"""

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from lmkit.recurrence.gpu import operations as known
from lmkit.recurrence.gpu.codes import Codes, Factors, Memory
from lmkit.recurrence.gpu.tiles import NoTilesError, Steps, Tile, Value


@dataclass(frozen=True, eq=False)
class _Columns:
    """A tensor of the graph: the codes of its elements in one row, and the dimension of the rows, None without."""

    codes: Tensor
    row: int | None


@dataclass(frozen=True)
class _Outer:
    """A tensor that is the same in all rows. number: the value of all its elements, where it is known."""

    name: str
    shape: torch.Size
    number: float | None = None


@dataclass(frozen=True, eq=False)
class _Mixed:
    """A tensor with rows in no dimension of their own: code * batch + row of each element."""

    elements: Tensor


def follow(graph: fx.Graph, sources: Sequence[str | None], batch: int, units: int) -> Steps:
    """The steps of a traced graph whose placeholders are tensors (batch, ...), or the same in all rows.

    sources: for each placeholder the name that `Load` gives it, None for those that are the same in all rows.
    Raises NoTilesError, which says why.
    """
    if units < 2 or batch < 2:
        raise NoTilesError("it has fewer than two units or rows")
    follower = _Follower(batch, units)
    values: dict[fx.Node, Any] = {}
    for node, source in zip(graph.find_nodes(op="placeholder"), sources, strict=True):
        shape = node.meta["val"].shape
        values[node] = _Outer(node.name, shape) if source is None else follower.from_memory(source, shape)
    for node in graph.nodes:
        if node.op == "call_function":
            values[node] = follower.value(node, *fx.map_arg((node.args, node.kwargs), values.__getitem__))
        elif node.op == "get_attr":
            raise NoTilesError("it holds a constant tensor")
    (found,) = graph.output_node().args
    outputs = [follower.tiles(values[node]) for node in found]  # pyright: ignore
    return Steps(follower.statements, outputs, _outer_function(graph, follower.outer))


def _outer_function(graph: fx.Graph, wanted: set[str]) -> Callable[[Mapping[str, Tensor]], dict[str, Tensor]]:
    """A function of the placeholders, by name, that computes the nodes of these names."""
    needed = {node for node in graph.nodes if node.name in wanted}
    for node in reversed(graph.nodes):
        if node in needed:
            needed.update(node.all_input_nodes)
    nodes = [node for node in graph.nodes if node in needed]

    def outer(placeholders: Mapping[str, Tensor]) -> dict[str, Tensor]:
        values: dict[fx.Node, Any] = {}
        for node in nodes:
            if node.op == "placeholder":
                values[node] = placeholders[node.name]
            else:
                args, kwargs = fx.map_arg((node.args, node.kwargs), values.__getitem__)
                values[node] = node.target(*args, **kwargs)  # pyright: ignore
        return {node.name: value for node, value in values.items() if node.name in wanted}

    return outer


class _Follower(Codes):
    """The values of the graph's nodes."""

    def from_memory(self, source: str, shape: Sequence[int]) -> _Columns:
        """A tensor (batch, ...) that the kernel loads."""
        width = torch.Size(shape[1:])
        return _Columns(self.new(Memory(source, True), width.numel()).view(width), 0)

    def tiles(self, value: Any) -> list[Value]:
        """The tiles of a tensor (batch, ...), in the order of its columns."""
        columns = self._columns(value)
        if columns.row not in (0, None):
            raise NoTilesError("it gives a state whose first dimension is not the batch")
        codes = columns.codes if columns.row == 0 else columns.codes[0]
        return [self.tile(run) for run in codes.reshape(-1).view(-1, self.units)]

    def value(self, node: fx.Node, args: Any, kwargs: Any) -> Any:
        """What a node gives for these arguments."""
        target = node.target
        if target is operator.getitem:
            return args[0][args[1]] if isinstance(args[0], list) else self._outer_value(node, args)
        parts = [*_tensors((args, kwargs))]
        if not any(isinstance(part, _Columns | _Mixed) for part in parts):
            return self._outer_value(node, parts)
        if target in known.MOVES:
            return self._moved(target, args, kwargs)
        if target in known.COPIES and known.keeps_numbers(args, kwargs):
            return args[0]
        if (expression := known.expression(target, args, kwargs)) is not None:
            return self._computed(expression, args)
        if target in known.TOTALS:
            return self._total(known.TOTALS[target], args, kwargs)
        if target in known.PRODUCTS:
            return self._product(*args)
        if target is known.ADDED_PRODUCT and not kwargs:
            return self._computed("{0} + {1}", [args[0], self._product(*args[1:])])
        raise NoTilesError(f"it uses {target}")

    def _outer_value(self, node: fx.Node, parts: Sequence[Any]) -> _Outer:
        """A value that is the same in all rows, which torch computes."""
        value = node.meta["val"]
        if not isinstance(value, Tensor):
            return _Outer(node.name, torch.Size())  # several tensors, each of which a `getitem` takes
        if parts or not value.numel():
            return _Outer(node.name, value.shape)
        on_cpu = {"device": torch.device("cpu")} if "device" in node.kwargs else {}
        made = node.target(*node.args, **{**node.kwargs, **on_cpu}).flatten()  # pyright: ignore
        alike = bool((made == made[0]).all())
        return _Outer(node.name, value.shape, float(made[0]) if alike else None)

    def _columns(self, value: Any) -> _Columns:
        """A tensor or a number of the graph as codes."""
        if isinstance(value, _Columns):
            return value
        if isinstance(value, _Mixed):
            raise NoTilesError("it mixes rows")
        if not isinstance(value, _Outer):
            return _Columns(self.codes_of(float(value)).view(()), None)
        if value.number is not None:
            return _Columns(self.codes_of(value.number).expand(value.shape.numel()).view(value.shape), None)
        if value not in self._made:
            self._made[value] = self.new(Memory(value.name, False), value.shape.numel()).view(value.shape)
        return _Columns(self._made[value], None)

    # Operations.

    def _moved(self, target: Any, args: Any, kwargs: Any) -> Any:
        """An operation that only moves elements, on codes that have their row beside them."""
        known_rows = {
            (part.row, part.codes.dim())
            for part in _tensors(args)
            if isinstance(part, _Columns) and part.row is not None
        }

        def with_rows(value: Any) -> Any:
            if isinstance(value, list | tuple):
                return [with_rows(v) for v in value]
            if isinstance(value, _Mixed):
                return value.elements
            if not isinstance(value, _Columns | _Outer):
                return value
            columns = self._columns(value)
            if columns.row is None and len(known_rows) != 1:
                raise NoTilesError("it mixes rows")
            row, dims = next(iter(known_rows)) if columns.row is None else (columns.row, columns.codes.dim())
            codes = self._one_row(columns, row, dims)
            counts = torch.arange(self._batch).view(-1, *[1] * (dims - row))
            return codes.unsqueeze(row) * self._batch + counts

        moved = known.VIEWS.get(target, target)(*with_rows(args), **kwargs)
        if isinstance(moved, Tensor):
            return self._without_rows(moved)
        return [self._without_rows(part) for part in moved]

    def _one_row(self, columns: _Columns, row: int, dims: int) -> Tensor:
        """The codes of a row of a tensor of which `row` is, or would be, the dimension of the rows."""
        if columns.row is not None:
            return columns.codes
        codes = columns.codes
        if codes.dim() != dims + 1 or bool((codes != codes.narrow(row, 0, 1)).any()):
            raise NoTilesError("it mixes rows")
        return codes.select(row, 0)

    def _without_rows(self, moved: Tensor) -> _Columns | _Mixed:
        """The opposite of `with_rows`."""
        rows, codes = moved % self._batch, moved // self._batch
        for row, size in enumerate(moved.shape):
            counts = torch.arange(size).view(-1, *[1] * (moved.dim() - row - 1))
            if size == self._batch and bool(
                (rows == counts).all() and (codes == codes.narrow(row, 0, 1)).all()
            ):
                return _Columns(codes.select(row, 0), row)
        return _Mixed(moved)

    def _computed(self, expression: str, args: Sequence[Any]) -> _Columns:
        """An operation element by element."""
        parts = [self._columns(argument) for argument in args if argument is not None]
        if len(parts) < len(args):  # a bound of a clamp is left out
            places = [place for place, argument in enumerate(args) if argument is not None]
            for new, old in enumerate(places):
                expression = expression.replace(f"{{{old}}}", f"{{{new}}}")
        shape = torch.broadcast_shapes(*(self._shape(part) for part in parts))
        rows = {len(shape) - self._dims(p) + p.row for p in parts if p.row is not None}
        if len(rows) != 1:
            raise NoTilesError("it mixes rows")
        row = rows.pop()
        width = torch.Size(shape[:row] + shape[row + 1 :])
        runs = [self._spread(part, shape, row).reshape(-1) for part in parts]
        found: list[Tensor] = []
        at = 0
        while at < width.numel():
            values = [self.same(int(run[at])) for run in runs]
            if None in values:
                values = [self.tile(run[at : at + self.units]) for run in runs]
            found.append(self.compute(expression, values))  # pyright: ignore[reportArgumentType]
            at += len(found[-1])
        return _Columns(torch.cat(found).view(width), row)

    def _shape(self, columns: _Columns) -> list[int]:
        """The shape of a tensor, its rows included."""
        shape = list(columns.codes.shape)
        return shape if columns.row is None else [*shape[: columns.row], self._batch, *shape[columns.row :]]

    def _dims(self, columns: _Columns) -> int:
        return len(self._shape(columns))

    def _spread(self, columns: _Columns, shape: Sequence[int], row: int) -> Tensor:
        """The codes of a row, spread over a shape of which `row` is the dimension of the rows."""
        codes = columns.codes if columns.row is None else columns.codes.unsqueeze(columns.row)
        from_end = len(shape) - row
        if columns.row is None and codes.dim() >= from_end and codes.shape[-from_end] != 1:
            if bool((codes != codes.narrow(-from_end, 0, 1)).any()):
                raise NoTilesError("it mixes rows")
            codes = codes.narrow(-from_end, 0, 1)
        return codes.expand([1 if dim == row else size for dim, size in enumerate(shape)]).squeeze(row)

    def _total(self, how: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """A total, mean or variance over some dimensions."""
        columns = self._columns(args[0])
        assert columns.row is not None
        dims, keep, correction = known.total_arguments(args[1:], kwargs)
        over = sorted({d % self._dims(columns) for d in dims})
        if not over or columns.row in over:
            raise NoTilesError("it adds up rows")

        def kept(columns: _Columns) -> _Columns:
            return columns if keep else self._squeezed(columns, over)

        if how in known.PAIRS:
            return kept(self._totals(columns, over, how))
        count = torch.Size(self._shape(columns)[d] for d in over).numel()
        mean = self._computed("{0} / {1}", [self._totals(columns, over, "sum"), count])
        if how == "mean":
            return kept(mean)
        gap = self._computed("{0} - {1}", [columns, mean])
        squares = self._computed("{0} * {0}", [gap])
        variance = self._computed("{0} / {1}", [self._totals(squares, over, "sum"), count - correction])
        return [kept(variance), kept(mean)] if how == "var_mean" else kept(variance)

    def _totals(self, columns: _Columns, over: Sequence[int], how: str) -> _Columns:
        """The total over some dimensions of a tensor, of which one element is kept."""
        assert columns.row is not None
        inner = [d - (d > columns.row) for d in over]
        outer = [d for d in range(columns.codes.dim()) if d not in inner]
        shape = [1 if d in inner else size for d, size in enumerate(columns.codes.shape)]
        lists = columns.codes.permute(*outer, *inner).reshape(torch.Size(shape).numel(), -1)
        found: list[Tensor] = []
        at = 0
        while at < len(lists):
            values = self.whole_tiles(lists[at])
            if values is None:  # the units are among the outputs
                values = [self.tile(run) for run in lists[at : at + self.units].t()]
            else:
                values = self.over_units(values, how)
            total = values[0]
            for value in values[1:]:
                total = self.origin(int(self.compute(known.PAIRS[how], [total, value])[0])).of
                assert isinstance(total, Tile)
            found.append(self.codes_of(total))
            at += len(found[-1])
        return _Columns(torch.cat(found).view(shape), columns.row)

    def _squeezed(self, columns: _Columns, over: Sequence[int]) -> _Columns:
        """Without the dimensions of which one element was kept."""
        assert columns.row is not None
        codes = columns.codes.squeeze([d - (d > columns.row) for d in over])
        return _Columns(codes, columns.row - sum(d < columns.row for d in over))

    def _product(self, left: Any, right: Any) -> _Columns:
        """A matrix product, or a batch of them, of a tensor with rows and one without, on either side."""
        if isinstance(left, _Columns) and left.row == self._dims(left) - 2 and isinstance(right, _Outer):
            places, rows, weight = torch.arange(right.shape.numel()).view(right.shape), left, right
        elif isinstance(right, _Columns) and right.row == self._dims(right) - 1 and isinstance(left, _Outer):
            places, rows, weight = torch.arange(left.shape.numel()).view(left.shape).mT, right, left
        else:
            raise NoTilesError("it adds up rows or multiplies them by one another")
        places = places.view(-1, *places.shape[-2:])
        inputs = rows.codes.view(len(places), -1)
        codes = self.new(Factors(inputs, places, weight.name), len(places) * places.shape[-1])
        return _Columns(codes.view(*rows.codes.shape[:-1], -1), rows.row)


def _tensors(arguments: Any) -> Iterator[_Columns | _Mixed | _Outer]:
    """The tensors among the arguments of a node."""
    if isinstance(arguments, _Columns | _Mixed | _Outer):
        yield arguments
    elif isinstance(arguments, dict):
        yield from _tensors([*arguments.values()])
    elif isinstance(arguments, list | tuple):
        for argument in arguments:
            yield from _tensors(argument)
