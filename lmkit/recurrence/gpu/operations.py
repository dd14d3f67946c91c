"""The operations of torch that a kernel in tiles knows, and how Triton writes them."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

aten: Any = torch.ops.aten
prims: Any = torch.ops.prims

EXPRESSIONS: dict[Any, str] = {
    aten.abs.default: "tl.abs({0})",
    aten.neg.default: "-{0}",
    aten.exp.default: "tl.exp({0})",
    aten.exp2.default: "tl.exp2({0})",
    aten.expm1.default: "_expm1({0})",
    aten.log.default: "tl.log({0})",
    aten.log2.default: "tl.log2({0})",
    aten.log1p.default: "_log1p({0})",
    aten.sqrt.default: "tl.sqrt({0})",
    aten.rsqrt.default: "1.0 / tl.sqrt({0})",
    aten.reciprocal.default: "1.0 / {0}",
    aten.square.default: "{0} * {0}",
    aten.sin.default: "tl.sin({0})",
    aten.cos.default: "tl.cos({0})",
    aten.erf.default: "tl.erf({0})",
    aten.floor.default: "tl.floor({0})",
    aten.ceil.default: "tl.ceil({0})",
    aten.sign.default: "({0} > 0.0).to(tl.float32) - ({0} < 0.0).to(tl.float32)",
    aten.sigmoid.default: "_sigmoid({0})",
    aten.tanh.default: "_tanh({0})",
    aten.relu.default: "_maximum({0}, 0.0)",
    aten.add.Tensor: "{0} + {1}",
    aten.add.Scalar: "{0} + {1}",
    aten.sub.Tensor: "{0} - {1}",
    aten.sub.Scalar: "{0} - {1}",
    aten.mul.Tensor: "{0} * {1}",
    aten.mul.Scalar: "{0} * {1}",
    aten.div.Tensor: "{0} / {1}",
    aten.div.Scalar: "{0} / {1}",
    aten.maximum.default: "_maximum({0}, {1})",
    aten.minimum.default: "_minimum({0}, {1})",
    aten.clamp_min.default: "_maximum({0}, {1})",
    aten.clamp_max.default: "_minimum({0}, {1})",
    aten.hypot.default: "tl.sqrt({0} * {0} + {1} * {1})",
    aten.addcmul.default: "{0} + {1} * {2}",
    aten.where.self: "tl.where({0} != 0.0, {1}, {2})",
    **{
        getattr(getattr(aten, name), kind): f"({{0}} {sign} {{1}}).to(tl.float32)"
        for name, sign in {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}.items()
        for kind in ("Tensor", "Scalar")
    },
    **{
        operation: text
        for names, text in {
            (aten.logical_and.default, aten.bitwise_and.Tensor): "{0} * {1}",
            (aten.logical_or.default, aten.bitwise_or.Tensor): "_maximum({0}, {1})",
            (aten.logical_not.default, aten.bitwise_not.default): "({0} == 0.0).to(tl.float32)",
        }.items()
        for operation in names
    },
}
"""Element by element, in float32, also truth values, as 1 and 0; each argument stands in its braces."""

VIEWS = {aten.view.default: aten.reshape.default, aten._unsafe_view.default: aten.reshape.default}
"""In place of operations that ask for one layout."""

MOVES = {
    *(*VIEWS, aten.reshape.default, aten.permute.default),
    *(aten.transpose.int, aten.t.default, aten.unsqueeze.default, aten.expand.default, prims.rev.default),
    *(aten.squeeze.default, aten.squeeze.dim, aten.squeeze.dims, aten.select.int, aten.slice.Tensor),
    *(
        aten.split.Tensor,
        aten.split_with_sizes.default,
        aten.unbind.int,
        aten.cat.default,
        aten.repeat.default,
    ),
    *(aten.slice_scatter.default, aten.select_scatter.default),
}
"""They only move elements."""

COPIES = {
    aten.clone.default,
    aten.alias.default,
    aten.detach.default,
    aten._to_copy.default,
    prims.convert_element_type.default,
    aten.lift_fresh_copy.default,
}
"""They give what they get: all numbers of a kernel are of one type."""

TOTALS = {
    aten.sum.dim_IntList: "sum",
    aten.mean.dim: "mean",
    aten.amax.default: "max",
    aten.amin.default: "min",
    aten.var.correction: "var",
    aten.var_mean.correction: "var_mean",
}
PAIRS = {"sum": "{0} + {1}", "max": "_maximum({0}, {1})", "min": "_minimum({0}, {1})"}
"""How two totals become one."""
LEAST = {"sum": "0.0", "max": '-float("inf")', "min": 'float("inf")'}
"""The total of nothing."""

PRODUCTS = {aten.mm.default, aten.bmm.default}
ADDED_PRODUCT = aten.addmm.default

HELPERS = """
import triton
import triton.language as tl


@triton.jit
def _sigmoid(x):
    return 1.0 / (1.0 + tl.exp(-x))


@triton.jit
def _tanh(x):
    shrunk = tl.exp(-2.0 * tl.abs(x))
    size = (1.0 - shrunk) / (1.0 + shrunk)
    return tl.where(x < 0.0, -size, tl.where(x != x, x, size))


@triton.jit
def _log1p(x):
    sum = 1.0 + x
    return tl.where(sum == 1.0, x, tl.log(sum) * (x / (sum - 1.0)))


@triton.jit
def _expm1(x):
    return tl.where(tl.abs(x) < 1e-3, x * (1.0 + x * 0.5), tl.exp(x) - 1.0)


@triton.jit
def _maximum(x, y):
    return tl.where(x != x, x, tl.where(y != y, y, tl.where(x > y, x, y)))


@triton.jit
def _minimum(x, y):
    return tl.where(x != x, x, tl.where(y != y, y, tl.where(x < y, x, y)))


@triton.jit
def _meet(count, expected):
    tl.debug_barrier()
    seen = tl.atomic_add(count, 1, sem="acq_rel", scope="gpu") + 1
    while seen < expected:
        seen = tl.atomic_add(count, 0, sem="acquire", scope="gpu")
    tl.debug_barrier()
"""
"""What kernels call. Extremes keep NaN, as torch's do.

_meet waits until so many programs have come; what they wrote to memory before can be read after.
"""


def expression(target: Any, arguments: Sequence[Any], options: Mapping[str, Any]) -> str | None:
    """The text for an operation element by element, with a place for each of its arguments; None if it is none."""
    if target is aten.pow.Tensor_Scalar:
        return {2: "{0} * {0}", 3: "{0} * {0} * {0}", 0.5: "tl.sqrt({0})", -1: "1.0 / {0}"}.get(arguments[1])
    if target is aten.clamp.default:
        low, high = [*arguments[1:], None][:2]
        text = "{0}" if low is None else "_maximum({0}, {1})"
        return text if high is None else f"_minimum({text}, {{2}})"
    # inductor's decompositions have an operation of its own, which is there once inductor has been imported.
    text = "{0} * {1} + {2}" if str(target) == "prims.fma.default" else EXPRESSIONS.get(target)
    if target is aten.addcmul.default and set(options) == {"value"}:
        return f"{{0}} + {float(options['value'])!r} * {{1}} * {{2}}"
    if text is None:
        return None
    if options:
        alpha = options.get("alpha", 1)
        if set(options) != {"alpha"} or target not in (aten.add.Tensor, aten.sub.Tensor):
            return None
        return f"{text[:4]}{text[4]} {float(alpha)!r} * {{1}}"
    return text


def keeps_numbers(arguments: Sequence[Any], options: Mapping[str, Any]) -> bool:
    """Whether a copy may be of another type, but only of one with fractions."""
    kinds = [value for value in (*arguments[1:], options.get("dtype")) if isinstance(value, torch.dtype)]
    return all(kind.is_floating_point for kind in kinds)


def total_arguments(rest: Sequence[Any], options: Mapping[str, Any]) -> tuple[list[int], bool, float]:
    """Dimensions, whether they are kept, and the correction of a variance (1 where none is named)."""
    given = {**dict(zip(("dim", "keepdim"), rest, strict=False)), **options}
    correction = given.get("correction")
    return (
        [*(given.get("dim") or ())],
        bool(given.get("keepdim", False)),
        1 if correction is None else correction,
    )
