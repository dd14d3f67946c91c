"""An ONNX graph while it is written: its nodes, its constants and the bodies of its loops."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lmkit.extras import needs

# By name, so that type checkers can check this module without the library.
onnx: Any = needs("onnx", "onnx")

OPSET = 18
IR_VERSION = 10
BATCH, TIME = "batch", "time"
"""The names of the free axes."""

DTYPES = {
    torch.float32: onnx.TensorProto.FLOAT,
    torch.float64: onnx.TensorProto.DOUBLE,
    torch.int64: onnx.TensorProto.INT64,
    torch.int32: onnx.TensorProto.INT32,
    torch.uint8: onnx.TensorProto.UINT8,
    torch.bool: onnx.TensorProto.BOOL,
}

MICROSOFT = "com.microsoft"
"""The domain of the operators that onnxruntime adds."""
BITS, BLOCK = 8, 32
"""Of the whole numbers of a weight in int8, and how many inputs share a scale."""
MIDDLE = 1 << (BITS - 1)
SMALLEST = torch.finfo(torch.float32).tiny


class Graph:
    """A graph, or the body of a Scan in it; a body shares the constants and the names of the whole.

    in_int8: weights of which the file gets whole numbers of eight bits.
    """

    def __init__(self, parent: "Graph | None" = None, in_int8: Sequence[Tensor] = ()) -> None:
        self.root: Graph = self if parent is None else parent.root
        self._nodes: list[Any] = []
        self._initializers: list[Any] = []
        self._known: dict[Any, str] = {}
        # So that no other tensor gets the memory by which a constant is known.
        self._kept: list[Tensor] = []
        self._names = 0
        self._in_int8 = {weight.data_ptr() for weight in in_int8}

    def body(self) -> "Graph":
        """The body of a loop."""
        return Graph(self)

    def fresh(self, kind: str) -> str:
        """A new name."""
        self.root._names += 1
        return f"{kind}_{self.root._names}"

    def node(self, kind: str, inputs: Sequence[str], **attributes: Any) -> str:
        """The name of the output of a new node."""
        return self.nodes(kind, inputs, 1, **attributes)[0]

    def nodes(self, kind: str, inputs: Sequence[str], count: int, **attributes: Any) -> list[str]:
        """The names of the outputs of a new node."""
        name = self.fresh(kind)
        outputs = [name] if count == 1 else [f"{name}_{index}" for index in range(count)]
        self._nodes.append(onnx.helper.make_node(kind, list(inputs), outputs, name=name, **attributes))
        return outputs

    def name_as(self, value: str, name: str) -> None:
        """Give a value another name: that of an output."""
        self._nodes.append(onnx.helper.make_node("Identity", [value], [name], name=self.fresh("Identity")))

    def constant(self, tensor: Tensor) -> str:
        """The name of a constant; a weight and its transpose are in the file once."""
        root, tensor = self.root, tensor.detach()
        key = _key(tensor)
        if key in root._known:
            return root._known[key]
        if tensor.dim() == 2 and (whole := root._known.get(_key(tensor.t()))) is not None:
            return self.node("Transpose", [whole], perm=[1, 0])
        name = root._known[key] = self.fresh("constant")
        root._kept.append(tensor)
        root._initializers.append(_proto(tensor, name))
        return name

    def ints(self, *values: int) -> str:
        """(values,) int64, for axes and shapes."""
        return self._shared(("ints", *values), torch.tensor(values, dtype=torch.int64))

    def scalar(self, value: float, dtype: torch.dtype) -> str:
        """A single number."""
        return self._shared(("scalar", repr(value), dtype), torch.tensor(value, dtype=dtype))

    def _shared(self, key: Any, tensor: Tensor) -> str:
        root = self.root
        if key not in root._known:
            root._known[key] = self.fresh("constant")
            root._initializers.append(_proto(tensor, root._known[key]))
        return root._known[key]

    def product(self, x: str, weight: Tensor) -> str:
        """x (..., inputs) times the transpose of a weight (outputs, inputs)."""
        if weight.data_ptr() in self.root._in_int8:
            return self._product_in_int8(x, weight.detach())
        return self.node("MatMul", [x, self.constant(weight.t())])

    def _product_in_int8(self, x: str, weight: Tensor) -> str:
        """The same with a scale for each block of a row of the weight, in whole numbers of both."""
        rows, columns = weight.shape
        padded = torch.nn.functional.pad(weight, (0, -columns % BLOCK)).view(rows, -1, BLOCK)
        scales = padded.abs().amax(2).clamp_min(SMALLEST) / (MIDDLE - 1)
        whole = (padded / scales[..., None]).round() + MIDDLE
        inputs = [x, self.constant(whole.to(torch.uint8)), self.constant(scales)]
        return self.node(
            "MatMulNBits", inputs, domain=MICROSOFT,
            K=columns, N=rows, bits=BITS, block_size=BLOCK, accuracy_level=4,
        )  # fmt: skip

    def proto(self, name: str, inputs: Sequence[Any], outputs: Sequence[Any]) -> Any:
        """The graph, without nodes that nothing reads; inputs, outputs: `tensor`s."""
        wanted = {output.name for output in outputs}
        kept = []
        for node in reversed(self._nodes):
            if wanted & set(node.output):
                kept.append(node)
                wanted |= set(node.input) | _read_by_bodies(node)
        initializers = [] if self is not self.root else [i for i in self._initializers if i.name in wanted]
        return onnx.helper.make_graph(kept[::-1], name, list(inputs), list(outputs), initializers)


def tensor(name: str, dtype: torch.dtype, shape: Sequence[int | str | None]) -> Any:
    """The declaration of an input or output; a name is an axis of any length, None an axis that others decide."""
    return onnx.helper.make_tensor_value_info(name, DTYPES[dtype], list(shape))


def _proto(tensor: Tensor, name: str) -> Any:
    return onnx.numpy_helper.from_array(tensor.cpu().contiguous().numpy(), name)


def _key(tensor: Tensor) -> Any:
    """What two tensors share only if they are the same numbers in the same order."""
    return tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype


def _read_by_bodies(node: Any) -> set[str]:
    """The names that the bodies of a node read, among them those of the graph around."""
    bodies = [attribute.g for attribute in node.attribute if attribute.name == "body"]
    inner = [one for body in bodies for one in body.node]
    return {name for one in inner for name in one.input} | {
        name for one in inner for name in _read_by_bodies(one)
    }
