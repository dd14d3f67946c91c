"""Arithmetic of torch in ONNX: functions, comparisons, reductions and products."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx

from lmkit.onnx_export.emitter import Emitter, View
from lmkit.onnx_export.handlers import HANDLERS, handles, shape_of, type_of
from lmkit.onnx_export.tracing import NotExportableError

UNARY = {
    "abs": "Abs",
    "atan": "Atan",
    "ceil": "Ceil",
    "cos": "Cos",
    "erf": "Erf",
    "exp": "Exp",
    "floor": "Floor",
    "log": "Log",
    "neg": "Neg",
    "reciprocal": "Reciprocal",
    "relu": "Relu",
    "round": "Round",
    "sigmoid": "Sigmoid",
    "sign": "Sign",
    "sin": "Sin",
    "sqrt": "Sqrt",
    "tan": "Tan",
    "tanh": "Tanh",
}
BINARY = {
    "add": "Add",
    "div": "Div",
    "maximum": "Max",
    "minimum": "Min",
    "mul": "Mul",
    "pow": "Pow",
    "sub": "Sub",
}
COMPARED = {"eq": "Equal", "ge": "GreaterOrEqual", "gt": "Greater", "le": "LessOrEqual", "lt": "Less"}
LOGICAL = {"and": "And", "or": "Or", "xor": "Xor"}
REDUCED = {
    "amax.default": "ReduceMax",
    "amin.default": "ReduceMin",
    "mean.dim": "ReduceMean",
    "sum.dim_IntList": "ReduceSum",
}


def _register() -> None:
    for name, kind in UNARY.items():
        HANDLERS[f"aten.{name}.default"] = _unary(kind)
    for name, kind in BINARY.items():
        for overload in ("Tensor", "Scalar", "default", "Tensor_Scalar", "Tensor_Tensor"):
            HANDLERS[f"aten.{name}.{overload}"] = _binary(kind)
    for name, kind in COMPARED.items():
        for overload in ("Tensor", "Scalar"):
            HANDLERS[f"aten.{name}.{overload}"] = _compared(kind)
    for name, kind in LOGICAL.items():
        HANDLERS[f"aten.logical_{name}.default"] = _logical(kind)
        HANDLERS[f"aten.bitwise_{name}.Tensor"] = _logical(kind)
    for name, kind in REDUCED.items():
        HANDLERS[f"aten.{name}"] = _reduced(kind)


def _unary(kind: str) -> Any:
    def handler(e: Emitter, node: fx.Node, x: Any) -> View:
        return e.op(kind, node, e.name(x, type_of(node)))

    return handler


def _binary(kind: str) -> Any:
    def handler(e: Emitter, node: fx.Node, a: Any, b: Any, *, alpha: float = 1) -> View:
        right = e.name(b, type_of(node))
        if alpha != 1:
            right = e.graph.node("Mul", [right, e.graph.scalar(alpha, type_of(node))])
        return e.op(kind, node, e.name(a, type_of(node)), right)

    return handler


def _compared(kind: str) -> Any:
    def handler(e: Emitter, node: fx.Node, a: Any, b: Any) -> View:
        left, right = (arg.meta["val"] if isinstance(arg, fx.Node) else arg for arg in node.args[:2])
        dtype = torch.result_type(left, right)  # pyright: ignore
        return e.op(kind, node, e.name(a, dtype), e.name(b, dtype))

    return handler


def _logical(kind: str) -> Any:
    def handler(e: Emitter, node: fx.Node, a: Any, b: Any) -> View:
        _only_bool(node)
        return e.op(kind, node, e.name(a, torch.bool), e.name(b, torch.bool))

    return handler


def _reduced(kind: str) -> Any:
    def handler(
        e: Emitter, node: fx.Node, x: Any, dim: Any = (), keepdim: bool = False, *, dtype: Any = None
    ) -> View:
        axes = [dim] if isinstance(dim, int) else list(dim or ())
        inputs = [e.name(x, type_of(node)), *([e.graph.ints(*axes)] if axes else [])]
        return e.op(kind, node, *inputs, keepdims=int(keepdim))

    return handler


@handles("aten.ne.Tensor", "aten.ne.Scalar")
def _unequal(e: Emitter, node: fx.Node, a: Any, b: Any) -> View:
    return e.op("Not", node, e.name(_compared("Equal")(e, node, a, b)))


@handles("aten.logical_not.default", "aten.bitwise_not.default")
def _not(e: Emitter, node: fx.Node, x: Any) -> View:
    _only_bool(node)
    return e.op("Not", node, e.name(x, torch.bool))


@handles("aten.rsub.Scalar", "aten.rsub.Tensor")
def _reverse_sub(e: Emitter, node: fx.Node, a: Any, b: Any, alpha: float = 1) -> View:
    return _binary("Sub")(e, node, b, a, alpha=alpha)


@handles("aten.rsqrt.default")
def _rsqrt(e: Emitter, node: fx.Node, x: Any) -> View:
    return e.op("Reciprocal", node, e.graph.node("Sqrt", [e.name(x)]))


@handles("aten.log1p.default")
def _log1p(e: Emitter, node: fx.Node, x: Any) -> View:
    one = e.graph.scalar(1.0, type_of(node))
    return e.op("Log", node, e.graph.node("Add", [e.name(x), one]))


@handles("aten.expm1.default")
def _expm1(e: Emitter, node: fx.Node, x: Any) -> View:
    """tanh(x / 2) (exp(x) + 1), which is exact near zero."""
    name, dtype = e.name(x), type_of(node)
    half = e.graph.node("Tanh", [e.graph.node("Mul", [name, e.graph.scalar(0.5, dtype)])])
    above = e.graph.node("Add", [e.graph.node("Exp", [name]), e.graph.scalar(1.0, dtype)])
    return e.op("Mul", node, half, above)


@handles("aten.gelu.default")
def _gelu(e: Emitter, node: fx.Node, x: Any, *, approximate: str = "none") -> View:
    name, dtype, g = e.name(x), type_of(node), e.graph
    if approximate == "none":
        share = g.node("Erf", [g.node("Mul", [name, g.scalar(math.sqrt(0.5), dtype)])])
    else:
        cube = g.node("Mul", [g.node("Mul", [name, g.node("Mul", [name, name])]), g.scalar(0.044715, dtype)])
        inner = g.node("Mul", [g.node("Add", [name, cube]), g.scalar(math.sqrt(2 / math.pi), dtype)])
        share = g.node("Tanh", [inner])
    half = g.node("Mul", [name, g.scalar(0.5, dtype)])
    return e.op("Mul", node, half, g.node("Add", [share, g.scalar(1.0, dtype)]))


@handles("aten.var.correction")
def _variance(
    e: Emitter, node: fx.Node, x: Any, dim: Any = None, *, correction: float = 1, keepdim: bool = False
) -> View:
    shape = shape_of(node.args[0])
    axes = list(range(len(shape))) if dim is None else list(dim)
    count = math.prod(shape[axis] for axis in axes)
    if not isinstance(count, int):
        raise NotExportableError("it has the variance of the steps or the rows")
    name, over = e.name(x), e.graph.ints(*axes)
    differences = e.graph.node("Sub", [name, e.graph.node("ReduceMean", [name, over], keepdims=1)])
    total = e.graph.node("ReduceSumSquare", [differences, over], keepdims=int(keepdim))
    return e.op("Div", node, total, e.graph.scalar(count - correction, type_of(node)))


@handles("aten.leaky_relu.default")
def _leaky_relu(e: Emitter, node: fx.Node, x: Any, slope: float = 0.01) -> View:
    return e.op("LeakyRelu", node, e.name(x), alpha=slope)


@handles("aten.elu.default")
def _elu(
    e: Emitter, node: fx.Node, x: Any, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0
) -> View:
    if scale == 1 and input_scale == 1:
        return e.op("Elu", node, e.name(x), alpha=alpha)
    if input_scale != 1:
        raise NotExportableError("it has elu with an input scale")
    inner = e.graph.node("Elu", [e.name(x)], alpha=alpha)
    return e.op("Mul", node, inner, e.graph.scalar(scale, type_of(node)))


@handles("aten.clamp.default", "aten.clamp.Tensor", "aten.hardtanh.default", "aten.clamp_min.default")
def _clamp(e: Emitter, node: fx.Node, x: Any, min: Any = None, max: Any = None) -> View:
    if "hardtanh" in str(node.target):
        min, max = -1.0 if min is None else min, 1.0 if max is None else max
    name, dtype = e.name(x, type_of(node)), type_of(node)
    for kind, bound in (("Max", min), ("Min", max)):
        if bound is not None:
            name = e.graph.node(kind, [name, e.name(bound, dtype)])
    return e.result(name, node)


@handles("aten.where.self")
def _where(e: Emitter, node: fx.Node, mask: Any, yes: Any, no: Any) -> View:
    return e.op("Where", node, e.name(mask), e.name(yes, type_of(node)), e.name(no, type_of(node)))


@handles("aten.masked_fill.Scalar", "aten.masked_fill.Tensor")
def _masked_fill(e: Emitter, node: fx.Node, x: Any, mask: Any, value: Any) -> View:
    return _where(e, node, mask, value, x)


@handles("aten._softmax.default", "aten._log_softmax.default")
def _softmax(e: Emitter, node: fx.Node, x: Any, dim: int, _half: bool = False) -> View:
    return e.op("LogSoftmax" if "log" in str(node.target) else "Softmax", node, e.name(x), axis=dim)


@handles("aten.cumsum.default")
def _cumsum(e: Emitter, node: fx.Node, x: Any, dim: int, **_dtype: Any) -> View:
    return e.op("CumSum", node, e.name(x, type_of(node)), e.graph.scalar(dim, torch.int64))


@handles("aten.linear.default")
def _linear(e: Emitter, node: fx.Node, x: Any, weight: Any, bias: Any = None) -> View:
    if isinstance(weight, Tensor):
        name = e.graph.product(e.name(x), weight)
    else:
        turned = e.graph.node("Transpose", [e.name(weight)], perm=[1, 0])
        name = e.graph.node("MatMul", [e.name(x), turned])
    return e.result(name if bias is None else e.graph.node("Add", [name, e.name(bias)]), node)


@handles("aten.mm.default", "aten.bmm.default", "aten.matmul.default", "aten.mv.default", "aten.dot.default")
def _product(e: Emitter, node: fx.Node, a: Any, b: Any) -> View:
    return e.op("MatMul", node, e.name(a), e.name(b))


@handles("aten.addmm.default", "aten.baddbmm.default")
def _added_product(
    e: Emitter, node: fx.Node, base: Any, a: Any, b: Any, *, beta: float = 1, alpha: float = 1
) -> View:
    if (beta, alpha) != (1, 1):
        raise NotExportableError(f"it has {node.target} with factors")
    return e.op("Add", node, e.graph.node("MatMul", [e.name(a), e.name(b)]), e.name(base))


@handles("aten.convolution.default")
def _convolution(
    e: Emitter, node: fx.Node, x: Any, weight: Any, bias: Any, strides: Sequence[int], padding: Sequence[int],
    dilations: Sequence[int], transposed: bool, _output_padding: Sequence[int], groups: int,
) -> View:  # fmt: skip
    if transposed:
        raise NotExportableError("it has a transposed convolution")
    added = [] if bias is None else [e.name(bias)]
    return e.op(
        "Conv", node, e.name(x), e.name(weight), *added,
        strides=list(strides), pads=[*padding, *padding], dilations=list(dilations), group=groups,
    )  # fmt: skip


@handles("aten.layer_norm.default")
def _layer_norm(
    e: Emitter, node: fx.Node, x: Any, shape: Sequence[int], weight: Any = None, bias: Any = None,
    eps: float = 1e-5, _cudnn: bool = True,
) -> View:  # fmt: skip
    gain = e.name(torch.ones(tuple(shape)) if weight is None else weight)
    added = [] if bias is None else [e.name(bias)]
    return e.op("LayerNormalization", node, e.name(x), gain, *added, axis=-len(shape), epsilon=eps)


def _only_bool(node: fx.Node) -> None:
    if type_of(node) != torch.bool:
        raise NotExportableError(f"it has {node.target} of whole numbers")


_register()
