"""Matrix products in a loop over steps, by the fastest library for their size.

A loop multiplies many small x by one weight. Without this module each step would lay out the weight again or read it
in a slower layout, and matrices too large for a core's cache would stay in torch's default library: compiled steps of
the GRU, 1.25 times as fast as nn.GRU at 200 units, reach 1.91 at 650 (docs/benchmarks.md), where these products run
in oneDNN. That page does not measure the products alone.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from lmkit.neural.linear import by_onednn, in_onednns_layout, linear, mkl_leads, onednn_takes

LARGE = 3 * 2**18
"""Bytes from which on a matrix is too large for a core's own cache and oneDNN is the faster library.

On a processor of AMD by 1.5 to 1.9 times, for a hidden size of 650; below, oneDNN is no faster for products with few
rows and for the gradients of weights. On a processor of Intel with AVX-512, where MKL computes the gradients of weights
1.3 to 1.8 times as fast as oneDNN, MKL computes these and large gradients of inputs.
"""


@dataclass(frozen=True)
class Projection:
    """h -> W h within a clip: weight (projection_size, hidden_size); clip is None where there is none."""

    weight: Tensor
    clip: float | None

    def clipped(self, r: Tensor) -> Tensor:
        """r within the clip."""
        return r if self.clip is None else r.clamp(-self.clip, self.clip)


class FixedProduct:
    """x -> x weight' + bias for many small x (rows, features) and one weight (width, features), laid out once."""

    def __init__(self, weight: Tensor, bias: Tensor | None, rows: int) -> None:
        self._bias = bias
        # oneDNN's products are none that a gradient is recorded of.
        self._packed = not torch.is_grad_enabled() and _suits_onednn(weight)
        if self._packed:
            self._weight = in_onednns_layout(weight.contiguous(), rows)
        else:
            self._weight = weight.t().contiguous()

    def __call__(self, x: Tensor) -> Tensor:
        if self._packed:
            return by_onednn(x, self._weight, self._bias)
        if self._bias is None:
            return torch.mm(x, self._weight)
        return torch.addmm(self._bias, x, self._weight)

    def added_to(self, base: Tensor, x: Tensor) -> Tensor:
        """base + x weight', without a bias; base (rows, width) may be overwritten. No gradient is recorded."""
        if self._packed:
            return torch.ops.mkldnn._linear_pointwise.binary(x, base, self._weight, None, "add")
        return base.addmm_(x, self._weight)


def weight_gradient(d_outputs: Tensor, inputs: Tensor) -> Tensor:
    """The gradient (width, features) of a weight, from those of its outputs (..., width) and from its inputs.

    No gradient is recorded.
    """
    d, x = d_outputs.flatten(0, -2).t(), inputs.flatten(0, -2)
    return by_onednn(d, x.t()) if _suits_onednn(x) and not mkl_leads() else d @ x


def input_gradient(d_outputs: Tensor, weight: Tensor) -> Tensor:
    """The gradient (..., features) of a product's inputs, from that of its outputs (..., width).

    weight: (width, features). No gradient is recorded.
    """
    if mkl_leads() and is_large(weight):
        return d_outputs @ weight
    return linear(d_outputs, weight.t(), may_copy=False)


def is_large(matrix: Tensor) -> bool:
    """Whether a matrix does not fit a core's own cache."""
    return matrix.numel() * matrix.element_size() >= LARGE


def _suits_onednn(matrix: Tensor) -> bool:
    return onednn_takes(matrix) and is_large(matrix)
