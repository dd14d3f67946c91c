"""Compute x W' + b where no gradient is recorded, in the fastest way for its shape.

Without this module every such product would be `F.linear`, by torch's default library. On the processor of
docs/benchmarks.md oneDNN computes wide products 1.6 to 2 times as fast; that is one of three reasons why a training
step is 1.76 times as fast there as in plain PyTorch. Products with few rows, as in generation, would also read the
weight in a slower layout. oneDNN is called by private operators of torch; where they are missing, `F.linear` is used.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

SMALLEST_BYTES, LARGEST_BYTES = 2**18, 2**29
"""Of weights between these sizes a copy in another layout may be kept: smaller ones gain nothing by it."""

MOST_ROWS = 128
"""Products with more rows are bound by arithmetic, whatever the layout."""

USES = 3
"""A copy is made when a weight is used so often without a change: scoring a line pays for none."""

# What torch's own compiler emits for F.linear; there are no public names for them.
HAS_ONEDNN = torch.backends.mkldnn.is_available() and all(
    hasattr(torch.ops.mkldnn, name) for name in ("_linear_pointwise", "_reorder_linear_weight")
)


@dataclass
class _Copy:
    """A weight in the layout for one row (transposed) or for several (oneDNN's own), once it was used enough."""

    version: int
    one_row: bool
    uses: int = 0
    weight: Tensor | None = None


_copies = WeakTensorKeyDictionary()


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, may_copy: bool = True) -> Tensor:
    """x (..., features), weight (width, features) and bias (width,) to (..., width).

    Wide and shallow products of this kind run in oneDNN at up to twice the speed of the default library on
    processors that are not Intel's (docs/benchmarks.md); on others the two are alike. Few rows are bound by the
    reading of the weight, and a copy of it in another layout is read in up to 1.8 times less time.
    may_copy: False where the weight is about to change, or memory is short.
    """
    if torch.is_grad_enabled() or not onednn_takes(x):
        return F.linear(x, weight, bias)
    rows = x.numel() // x.shape[-1] if x.shape[-1] else 0
    copy = _copy_for(weight, rows) if may_copy else None
    if copy is not None and rows == 1:
        one = x.reshape(1, -1)
        y = torch.mm(one, copy) if bias is None else torch.addmm(bias, one, copy)
        return y.view(*x.shape[:-1], len(weight))
    return by_onednn(x, weight if copy is None else copy, bias)


def by_onednn(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The same in oneDNN, which takes a weight in its own layout too."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


@cache
def mkl_leads() -> bool:
    """Whether torch's default library is MKL on a processor of Intel, where oneDNN is slower for gradients."""
    try:
        return torch.backends.mkl.is_available() and "GenuineIntel" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


def onednn_takes(tensor: Tensor) -> bool:
    """Whether oneDNN is there for products with a tensor of this kind."""
    return HAS_ONEDNN and tensor.device.type == "cpu" and tensor.dtype == torch.float32


def in_onednns_layout(weight: Tensor, rows: int) -> Tensor:
    """A weight (width, features) in the layout that oneDNN reads fastest in products with this many rows."""
    return torch.ops.mkldnn._reorder_linear_weight(weight, rows)


def _copy_for(weight: Tensor, rows: int) -> Tensor | None:
    """The copy for products with this many rows, or None as long as no copy pays."""
    size = weight.numel() * weight.element_size()
    if not (0 < rows <= MOST_ROWS and SMALLEST_BYTES <= size <= LARGEST_BYTES) or weight.is_inference():
        return None
    kept = _copies.get(weight)
    if kept is None or kept.version != weight._version or kept.one_row != (rows == 1):
        kept = _copies[weight] = _Copy(weight._version, rows == 1)
    kept.uses += 1
    if kept.uses == USES:
        plain = weight.detach()
        kept.weight = plain.t().contiguous() if rows == 1 else in_onednns_layout(plain, rows)
    return kept.weight
