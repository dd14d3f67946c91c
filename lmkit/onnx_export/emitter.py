"""Write the operations of a traced module as nodes of an ONNX graph."""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram

from lmkit.onnx_export.graph import DTYPES, Graph
from lmkit.onnx_export.tracing import NotExportableError, constants_of

Handler = Callable[..., Any]
"""Called with the emitter, the node and its arguments; returns the value or values of the node."""


@dataclass(frozen=True)
class View:
    """A tensor of the graph with its axes in another order, or with axes of length one between them.

    axes: for each axis the one of `name` that it is, None for a new one. No node is written for such a view until
    another node reads it: models turn (batch, time) to (time, batch) and back.
    """

    name: str
    dtype: torch.dtype
    axes: tuple[int | None, ...]

    @classmethod
    def whole(cls, name: str, dtype: torch.dtype, rank: int) -> "View":
        return cls(name, dtype, tuple(range(rank)))


@dataclass(frozen=True)
class Size:
    """A length that is known only when the graph runs: (1,) int64."""

    name: str


ARITHMETIC = {operator.add: "Add", operator.floordiv: "Div", operator.mul: "Mul", operator.sub: "Sub"}
"""Of lengths."""


class Emitter:
    """Writes programs into a graph. handlers: by the names of torch's operators, such as "aten.add.Tensor"."""

    def __init__(self, graph: Graph, handlers: Mapping[str, Handler]) -> None:
        self.graph = graph
        self._handlers = handlers

    def inside(self) -> "Emitter":
        """The same for the body of a loop."""
        return Emitter(self.graph.body(), self._handlers)

    def run(self, program: ExportedProgram, inputs: Sequence[View]) -> list[View]:
        """The outputs of a program for these inputs, in the order of its arguments."""
        constants = constants_of(program)
        given = iter(inputs)
        values: dict[fx.Node, Any] = {}
        for node in program.graph.nodes:
            if node.op == "placeholder":
                values[node] = constants[node.name] if node.name in constants else next(given)
            elif node.op == "output":
                outputs = fx.map_arg(node.args[0], values.__getitem__)
                return [self.viewed(value) for value in outputs]  # pyright: ignore
            else:
                args, kwargs = fx.map_arg((node.args, node.kwargs), values.__getitem__)  # pyright: ignore
                values[node] = self._value(node, args, kwargs)
        raise AssertionError("a program has an output")

    def _value(self, node: fx.Node, args: Any, kwargs: Any) -> Any:
        target: Any = node.target
        if target is operator.getitem:
            return args[0][args[1]]
        if _is_constant((args, kwargs)) and callable(target):
            return target(*args, **kwargs)  # of weights alone: it is the same in every call
        if target in ARITHMETIC:
            return Size(self.graph.node(ARITHMETIC[target], [self.shape([one]) for one in args]))
        handler = self._handlers.get(str(target))
        if handler is None:
            raise NotExportableError(f"it has the operator {target}, which lmkit cannot write as ONNX")
        return handler(self, node, *args, **kwargs)

    def op(self, kind: str, node: fx.Node, *inputs: str, **attributes: Any) -> View:
        """A new node of ONNX with the result of a node of torch."""
        return self.result(self.graph.node(kind, inputs, **attributes), node)

    def result(self, name: str, node: fx.Node) -> View:
        """A name of the graph as the value of a node."""
        found = node.meta["val"]
        return View.whole(name, found.dtype, found.dim())

    def viewed(self, value: Any) -> View:
        """A value as a tensor of the graph."""
        if isinstance(value, View):
            return value
        return View.whole(self.graph.constant(value), value.dtype, value.dim())

    def name(self, value: Any, dtype: torch.dtype | None = None) -> str:
        """The name of a value, as a number of this type."""
        if isinstance(value, (bool, int, float)):
            return self.graph.scalar(value, dtype or torch.get_default_dtype())
        if isinstance(value, Tensor):
            return self.graph.constant(value if dtype is None else value.to(dtype))
        if isinstance(value, Size):
            raise NotExportableError("it computes with the length of a text or the number of rows")
        name = self._written(value)
        if dtype is None or dtype == value.dtype:
            return name
        return self.graph.node("Cast", [name], to=_onnx_type(dtype))

    def _written(self, view: View) -> str:
        """The name of a view, with nodes for the changes of its axes."""
        name, order = view.name, [axis for axis in view.axes if axis is not None]
        new = [place for place, axis in enumerate(view.axes) if axis is None]
        if order != sorted(order):
            name = self.graph.node("Transpose", [name], perm=order)
        if new:
            name = self.graph.node("Unsqueeze", [name, self.graph.ints(*new)])
        return name

    def shape(self, sizes: Sequence[Any]) -> str:
        """(sizes,) int64 of numbers and Sizes."""
        if all(isinstance(size, int) for size in sizes):
            return self.graph.ints(*sizes)
        parts = [size.name if isinstance(size, Size) else self.graph.ints(size) for size in sizes]
        return parts[0] if len(parts) == 1 else self.graph.node("Concat", parts, axis=0)


def _is_constant(arguments: Any) -> bool:
    """Whether arguments have tensors, and only constant ones, or are numbers alone."""
    found: list[Any] = []

    def walk(value: Any) -> None:
        if isinstance(value, (list, tuple)):
            for one in value:
                walk(one)
        elif isinstance(value, dict):
            walk(list(value.values()))
        else:
            found.append(value)

    walk(arguments)
    return not any(isinstance(value, (View, Size)) for value in found)


def _onnx_type(dtype: torch.dtype) -> int:
    if dtype not in DTYPES:
        raise NotExportableError(f"it has numbers of the type {dtype}")
    return DTYPES[dtype]
