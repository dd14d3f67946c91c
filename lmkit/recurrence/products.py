"""Matrix products of the recurrence, by the library that is the fastest for their size."""

import torch
from torch import Tensor

LARGE = 3 * 2**18
"""Bytes from which on a matrix is too large for a core's own cache and oneDNN is the faster library.

On a processor of AMD by 1.5 to 1.9 times, for a hidden size of 650; below, the two are alike or oneDNN is slower.
"""

# What torch's own compiler emits for linear layers with constant weights; there are no public names for them.
_ONEDNN = torch.backends.mkldnn.is_available() and all(
    hasattr(torch.ops.mkldnn, name) for name in ("_linear_pointwise", "_reorder_linear_weight")
)


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x weight' + bias: x (..., features), weight (width, features); no gradient is recorded."""
    if suits_onednn(weight):
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return torch.nn.functional.linear(x, weight, bias)


def suits_onednn(weight: Tensor) -> bool:
    """Whether oneDNN is the faster library for a product with this matrix, without gradients."""
    return (
        _ONEDNN
        and weight.device.type == "cpu"
        and weight.dtype == torch.float32
        and weight.numel() * weight.element_size() >= LARGE
    )


class FixedProduct:
    """x -> x weight' for many small x (rows, features) and one weight (width, features), laid out once.

    No gradient is recorded.
    """

    def __init__(self, weight: Tensor, rows: int) -> None:
        self._packed = suits_onednn(weight)
        if self._packed:
            self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), rows)
        else:
            self._weight = weight.t().contiguous()

    def __call__(self, x: Tensor) -> Tensor:
        if self._packed:
            return torch.ops.mkldnn._linear_pointwise(x, self._weight, None, "none", [], "")
        return torch.mm(x, self._weight)

    def added_to(self, base: Tensor, x: Tensor) -> Tensor:
        """base + x weight'; base (rows, width) may be overwritten."""
        if self._packed:
            return torch.ops.mkldnn._linear_pointwise.binary(x, base, self._weight, None, "add")
        return base.addmm_(x, self._weight)
