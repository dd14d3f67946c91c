"""The output layer: exact softmax over the vocabulary, a few rows at a time, so that logits never exist whole."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

ROWS = 256
"""Rows of logits made at once: enough to fill a matrix product, few enough to stay in the cache."""


class OutputLayer(nn.Module):
    """Features (rows, width) to log-probabilities over the vocabulary.

    weight: (vocabulary, width), an embedding's own parameter when the two are tied.
    """

    def __init__(self, weight: nn.Parameter) -> None:
        super().__init__()
        self.weight = weight
        self.bias = nn.Parameter(weight.new_zeros(len(weight)))

    def forward(self, features: Tensor) -> Tensor:
        """(..., vocabulary) log-probabilities."""
        return torch.log_softmax(linear(features, self.weight, self.bias), -1)

    def loss(self, features: Tensor, targets: Tensor) -> Tensor:
        """The mean of -log p(target), in nats, over rows: features (rows, width), targets (rows,)."""
        return ChunkedCrossEntropy.apply(features, self.weight, self.bias, targets)  # pyright: ignore[reportReturnType]

    def target_log_probs(self, features: Tensor, targets: Tensor) -> Tensor:
        """log p(target) of each row: features (rows, width), targets (rows,)."""
        pieces = []
        for rows, wanted in zip(features.split(ROWS), targets.split(ROWS), strict=True):
            if torch.is_grad_enabled():
                # Logits are computed again in the backward pass instead of being kept.
                pieces.append(checkpoint(self._gather, rows, wanted, use_reentrant=False))
            else:
                pieces.append(self._gather(rows, wanted))
        return torch.cat(pieces) if pieces else features.new_zeros(0)

    def _gather(self, features: Tensor, targets: Tensor) -> Tensor:
        logits = linear(features, self.weight, self.bias)
        return logits.gather(1, targets[:, None])[:, 0] - logits.logsumexp(1)


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x W' + b, by oneDNN where no gradient is recorded.

    Wide and shallow products of this kind run in oneDNN at up to twice the speed of the default library on
    processors that are not Intel's (docs/benchmarks.md); on others the two are alike.
    """
    if torch.is_grad_enabled() or x.device.type != "cpu" or x.dtype != torch.float32 or not _ONEDNN:
        return F.linear(x, weight, bias)
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


# What torch's own compiler emits for F.linear; there is no public name for it.
_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


class ChunkedCrossEntropy(torch.autograd.Function):
    """Mean cross-entropy whose gradient is formed chunk by chunk, in the forward pass.

    The gradient of the mean of -log p(target) with respect to the logits is (p - onehot(target)) / rows: it is
    known as soon as the logits are, so that they need not be kept. Memory is that of the weight's gradient.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
        rows = len(features)
        # Apple's GPUs have no float64.
        exact = torch.float32 if features.device.type == "mps" else torch.float64
        total = features.new_zeros((), dtype=exact)
        gradients = (
            [torch.zeros_like(t) for t in (features, weight, bias)] if any(ctx.needs_input_grad) else []
        )
        for start in range(0, rows, ROWS):
            x, y = features[start : start + ROWS], targets[start : start + ROWS, None]
            scores = torch.log_softmax(linear(x, weight, bias), 1)
            total -= scores.gather(1, y).sum(dtype=exact)
            if gradients:
                d_features, d_weight, d_bias = gradients
                d_logits = scores.exp_()
                d_logits.scatter_add_(1, y, d_logits.new_full((1, 1), -1.0).expand_as(y))
                torch.mm(d_logits, weight, out=d_features[start : start + ROWS])
                d_weight.addmm_(d_logits.t(), x / rows)
                d_bias += d_logits.sum(0)
        if gradients:
            # Here, and in `x / rows` above, rather than on the logits, which are far larger.
            gradients[0] /= rows
            gradients[2] /= rows
        ctx.save_for_backward(*gradients)
        return (total / max(rows, 1)).to(features.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore
        # The gradients are scaled in place: nobody else holds them, and the weight's is large.
        return (*(gradient.mul_(grad_outputs[0]) for gradient in ctx.saved_tensors), None)
