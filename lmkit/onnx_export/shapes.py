"""What torch does to shapes in ONNX: look-ups, parts, views, new tensors and casts."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import fx

from lmkit.onnx_export.emitter import Emitter, Size, View
from lmkit.onnx_export.handlers import handles, shape_of, type_of
from lmkit.onnx_export.tracing import NotExportableError


@handles("aten.embedding.default")
def _embedding(e: Emitter, node: fx.Node, weight: Any, ids: Any, *_unused: Any) -> View:
    return e.op("Gather", node, e.name(weight), e.name(ids), axis=0)


@handles("aten.index_select.default")
def _index_select(e: Emitter, node: fx.Node, x: Any, dim: int, ids: Any) -> View:
    return e.op("Gather", node, e.name(x), e.name(ids), axis=dim)


@handles("aten.index.Tensor")
def _index(e: Emitter, node: fx.Node, x: Any, indices: Sequence[Any]) -> View:
    given = [axis for axis, index in enumerate(indices) if index is not None]
    if len(given) != 1 or indices[given[0]].dtype not in (torch.int64, torch.int32):
        raise NotExportableError("it has an index of several axes, or of a mask")
    return e.op("Gather", node, e.name(x), e.name(indices[given[0]]), axis=given[0])


@handles("aten.gather.default")
def _gather(e: Emitter, node: fx.Node, x: Any, dim: int, ids: Any, **_sparse: Any) -> View:
    return e.op("GatherElements", node, e.name(x), e.name(ids), axis=dim)


@handles("aten.cat.default")
def _cat(e: Emitter, node: fx.Node, parts: Sequence[Any], dim: int = 0) -> View:
    return e.op("Concat", node, *(e.name(part, type_of(node)) for part in parts), axis=dim)


@handles("aten.split_with_sizes.default", "aten.split.Tensor")
def _split(e: Emitter, node: fx.Node, x: Any, sizes: Any, dim: int = 0) -> list[View]:
    found = node.meta["val"]
    lengths = [part.shape[dim] for part in found]
    if not all(isinstance(length, int) for length in lengths):
        raise NotExportableError("it splits the steps or the rows")
    if len(found) == 1:
        return [e.viewed(x)]
    names = e.graph.nodes("Split", [e.name(x), e.graph.ints(*lengths)], len(found), axis=dim)
    return [View.whole(name, part.dtype, part.dim()) for name, part in zip(names, found, strict=True)]


@handles("aten.slice.Tensor")
def _slice(
    e: Emitter, node: fx.Node, x: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1
) -> View:
    first, last = start or 0, torch.iinfo(torch.int64).max if end is None else end
    if (first, step) == (0, 1) and last == torch.iinfo(torch.int64).max:
        return e.viewed(x)
    bounds = [e.shape([first]), e.shape([last]), e.graph.ints(dim), e.graph.ints(step)]
    return e.op("Slice", node, e.name(x), *bounds)


@handles("aten.flip.default")
def _flip(e: Emitter, node: fx.Node, x: Any, dims: Sequence[int]) -> View:
    count, least = len(dims), torch.iinfo(torch.int64).min
    bounds = [e.graph.ints(*values) for values in ([-1] * count, [least] * count, dims, [-1] * count)]
    return e.op("Slice", node, e.name(x), *bounds)


@handles("aten.select.int")
def _select(e: Emitter, node: fx.Node, x: Any, dim: int, index: Any) -> View:
    view = e.viewed(x)
    dim %= len(view.axes)
    if view.axes[dim] is None:
        return View(view.name, view.dtype, view.axes[:dim] + view.axes[dim + 1 :])
    if not isinstance(index, int):
        raise NotExportableError("it selects a step or a row by a length")
    return e.op("Gather", node, e.name(x), e.graph.scalar(index, torch.int64), axis=dim)


@handles("aten.unsqueeze.default")
def _unsqueeze(e: Emitter, node: fx.Node, x: Any, dim: int) -> View:
    view = e.viewed(x)
    dim %= len(view.axes) + 1
    return View(view.name, view.dtype, (*view.axes[:dim], None, *view.axes[dim:]))


@handles("aten.squeeze.dim", "aten.squeeze.dims")
def _squeeze(e: Emitter, node: fx.Node, x: Any, dims: Any) -> View:
    view = e.viewed(x)
    rank = len(view.axes)
    wanted = {dim % rank for dim in ([dims] if isinstance(dims, int) else dims)}
    if any(view.axes[dim] is not None for dim in wanted):
        return e.op("Squeeze", node, e.name(x), e.graph.ints(*sorted(wanted)))
    return View(view.name, view.dtype, tuple(a for d, a in enumerate(view.axes) if d not in wanted))


@handles("aten.permute.default")
def _permute(e: Emitter, node: fx.Node, x: Any, order: Sequence[int]) -> View:
    view = e.viewed(x)
    return View(view.name, view.dtype, tuple(view.axes[axis] for axis in order))


@handles("aten.t.default")
def _t(e: Emitter, node: fx.Node, x: Any) -> View:
    view = e.viewed(x)
    return View(view.name, view.dtype, view.axes[::-1])


@handles("aten.transpose.int")
def _transpose(e: Emitter, node: fx.Node, x: Any, first: int, second: int) -> View:
    axes = list(e.viewed(x).axes)
    axes[first], axes[second] = axes[second], axes[first]
    return View(e.viewed(x).name, e.viewed(x).dtype, tuple(axes))


@handles("aten.view.default", "aten.reshape.default", "aten._unsafe_view.default")
def _reshape(e: Emitter, node: fx.Node, x: Any, sizes: Sequence[Any]) -> View:
    before, after = shape_of(node.args[0]), list(node.meta["val"].shape)
    if list(before) == after:
        return e.viewed(x)
    wanted, free = [], sum(not isinstance(size, int) for size in after)
    for axis, (size, given) in enumerate(zip(after, sizes, strict=True)):
        if isinstance(size, int):
            wanted.append(size)
        elif axis < len(before) and _same(size, before[axis]):
            wanted.append(0)  # as in the input
            free -= 1
        else:
            wanted.append(-1 if free == 1 else given)
    return e.op("Reshape", node, e.name(x), e.shape(wanted))


@handles("aten.expand.default")
def _expand(e: Emitter, node: fx.Node, x: Any, sizes: Sequence[Any], **_implicit: Any) -> View:
    before, after = shape_of(node.args[0]), list(node.meta["val"].shape)
    before = [1] * (len(after) - len(before)) + list(before)
    wanted = [1 if _same(old, new) else given for old, new, given in zip(before, after, sizes, strict=True)]
    if all(size == 1 for size in wanted) and len(after) == len(shape_of(node.args[0])):
        return e.viewed(x)
    return e.op("Expand", node, e.name(x), e.shape(wanted))


@handles("aten.full.default")
def _full(e: Emitter, node: fx.Node, sizes: Sequence[Any], value: Any, **_kind: Any) -> View:
    return e.op("Expand", node, e.graph.scalar(value, type_of(node)), e.shape(sizes))


@handles("aten.arange.default", "aten.arange.start", "aten.arange.start_step")
def _arange(e: Emitter, node: fx.Node, *bounds: Any, **_kind: Any) -> View:
    start, end, step = {1: (0, *bounds, 1), 2: (*bounds, 1), 3: bounds}[len(bounds)]
    found = [e.graph.node("Squeeze", [e.shape([bound])]) for bound in (start, end, step)]
    return e.op("Range", node, *found)


@handles("aten.full_like.default", "aten.zeros_like.default", "aten.ones_like.default")
def _full_like(e: Emitter, node: fx.Node, x: Any, value: Any = None, **_kind: Any) -> View:
    if value is None:
        value = 1 if "ones" in str(node.target) else 0
    return e.op("Expand", node, e.graph.scalar(value, type_of(node)), e.graph.node("Shape", [e.name(x)]))


@handles("aten.constant_pad_nd.default")
def _pad(e: Emitter, node: fx.Node, x: Any, pad: Sequence[Any], value: float = 0.0) -> View:
    if not all(isinstance(size, int) for size in pad):
        raise NotExportableError("it pads by a length")
    rank = len(shape_of(node.args[0]))
    pairs = [(0, 0)] * (rank - len(pad) // 2) + list(zip(pad[::2], pad[1::2], strict=True))[::-1]
    ends = e.graph.ints(*(low for low, _ in pairs), *(high for _, high in pairs))
    return e.op("Pad", node, e.name(x), ends, e.graph.scalar(value, type_of(node)), mode="constant")


@handles(
    "aten.clone.default", "aten.alias.default", "aten.detach.default", "aten.lift_fresh_copy.default",
    "aten.contiguous.default",
)  # fmt: skip
def _same_values(e: Emitter, node: fx.Node, x: Any, **_kind: Any) -> View:
    return e.viewed(x)


@handles("aten._to_copy.default", "aten.to.dtype")
def _cast(e: Emitter, node: fx.Node, x: Any, *_unused: Any, **_kind: Any) -> View:
    if x.dtype == type_of(node):
        return e.viewed(x)
    return e.result(e.name(x, type_of(node)), node)


@handles("aten.sym_size.int")
def _size(e: Emitter, node: fx.Node, x: View, dim: int) -> Size:
    return Size(e.graph.node("Shape", [e.name(x)], start=dim, end=dim + 1))


def _same(one: Any, other: Any) -> bool:
    """Whether two lengths are equal whatever the input."""
    if isinstance(one, int) or isinstance(other, int):
        return isinstance(one, int) and isinstance(other, int) and one == other
    return one.node.expr == other.node.expr
