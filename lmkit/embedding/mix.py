"""The scalar mix of layers: a weighted mean whose weights a task learns."""

import torch
from torch import Tensor, nn


class ScalarMix(nn.Module):
    """gamma * sum_k softmax(w)_k L_k (Peters et al., 2018, equation 1, arXiv:1802.05365).

    It starts as the mean of the layers: w = 0, gamma = 1.
    layer_norm: normalise each layer first, an option of the original: by one mean and variance over all vectors of
    the batch, so that a sentence's vectors depend on the others.
    """

    def __init__(self, num_layers: int, *, layer_norm: bool = False) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(num_layers))
        self.gamma = nn.Parameter(torch.ones(()))
        self.layer_norm = layer_norm

    def forward(self, layers: Tensor, mask: Tensor | None = None) -> Tensor:
        """(..., features) from layers (num_layers, ..., features).

        mask: (...) bool, the vectors that count for the normalisation, without padding.
        """
        if self.layer_norm:
            layers = _normalised(layers, mask)
        shares = self.weights.softmax(0).to(layers.dtype)
        return self.gamma * torch.tensordot(shares, layers, 1)


def _normalised(layers: Tensor, mask: Tensor | None) -> Tensor:
    """Each layer with mean 0 and variance 1 over the vectors of the mask."""
    counted = torch.ones(layers.shape[1:-1], device=layers.device) if mask is None else mask
    weights = counted.to(layers.dtype)[None, ..., None].expand_as(layers)
    dims = tuple(range(1, layers.dim()))
    total = weights.sum(dims, keepdim=True).clamp(min=1)
    mean = (layers * weights).sum(dims, keepdim=True) / total
    variance = ((layers - mean).square() * weights).sum(dims, keepdim=True) / total
    return (layers - mean) / (variance + 1e-12).sqrt()
