"""The output layer: exact softmax over the vocabulary, a few rows at a time, so logits need little memory."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from lmkit.neural.linear import linear

ROWS = 256
"""Rows of logits computed at once: enough for an efficient matrix product, few enough to stay in the cache."""

MOST_LOGITS = 2**24
"""With a large vocabulary, fewer rows are computed at once, so memory is little more than the weight's gradient."""


class OutputLayer(nn.Module):
    """Features (rows, width) to log-probabilities over the vocabulary.

    weight: (vocabulary, width), the embedding's parameter if the two are tied.
    """

    def __init__(self, weight: nn.Parameter) -> None:
        super().__init__()
        self.weight = weight
        self.bias = nn.Parameter(weight.new_zeros(len(weight)))

    @property
    def width(self) -> int:
        """The number of features."""
        return self.weight.shape[1]

    def logits(self, features: Tensor) -> Tensor:
        """(..., vocabulary) scores, before normalisation."""
        return linear(features, self.weight, self.bias)

    def forward(self, features: Tensor) -> Tensor:
        """(..., vocabulary) log-probabilities."""
        return torch.log_softmax(self.logits(features), -1)

    def loss(self, features: Tensor, targets: Tensor) -> Tensor:
        """The mean of -log p(target), in nats, over rows: features (rows, width), targets (rows,)."""
        return ChunkedCrossEntropy.apply(features, self.weight, self.bias, targets)  # pyright: ignore[reportReturnType]

    def target_log_probs(self, features: Tensor, targets: Tensor) -> Tensor:
        """log p(target) of each row: features (rows, width), targets (rows,)."""
        pieces = []
        for rows, wanted in zip(features.split(ROWS), targets.split(ROWS), strict=True):
            if torch.is_grad_enabled():
                # The backward pass computes logits again instead of keeping them.
                pieces.append(checkpoint(self._gather, rows, wanted, use_reentrant=False))
            else:
                pieces.append(self._gather(rows, wanted))
        return torch.cat(pieces) if pieces else features.new_zeros(0)

    def _gather(self, features: Tensor, targets: Tensor) -> Tensor:
        logits = self.logits(features)
        return logits.gather(1, targets[:, None])[:, 0] - logits.logsumexp(1)


def softmax_(logits: Tensor) -> Tensor:
    """The softmax of each row of (rows, vocabulary), in place if that is known to work."""
    # A row is read completely before it is written; new memory would cost more than the arithmetic.
    return torch.softmax(logits, 1, out=logits) if logits.device.type == "cpu" else logits.softmax(1)


class ChunkedCrossEntropy(torch.autograd.Function):
    """Mean cross-entropy whose gradient is computed chunk by chunk, in the forward pass.

    The gradient of the mean of -log p(target) with respect to the logits is (p - onehot(target)) / rows: it is
    computed together with the logits, which need not be kept. The memory is that of the weight's gradient.
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
        chunk = max(1, min(ROWS, MOST_LOGITS // len(weight)))
        for start in range(0, rows, chunk):
            x, y = features[start : start + chunk], targets[start : start + chunk, None]
            probs = softmax_(linear(x, weight, bias, may_copy=False))
            picked = probs.gather(1, y)
            # The gradient needs the softmax; its logarithm is computed apart only if a target's softmax underflows.
            if bool((picked > torch.finfo(probs.dtype).tiny).all()):
                total -= picked.log().sum(dtype=exact)
            else:
                total -= linear(x, weight, bias, may_copy=False).log_softmax(1).gather(1, y).sum(dtype=exact)
            if gradients:
                d_features, d_weight, d_bias = gradients
                d_logits = probs
                d_logits.scatter_add_(1, y, d_logits.new_full((1, 1), -1.0).expand_as(y))
                torch.mm(d_logits, weight, out=d_features[start : start + chunk])
                d_weight.addmm_(d_logits.t(), x / rows)
                d_bias += d_logits.sum(0)
                del d_logits
            del probs  # before the next chunk allocates as much
        if gradients:
            # Here, and in `x / rows` above, instead of on the logits, which are far larger.
            gradients[0] /= rows
            gradients[2] /= rows
        # Not by save_for_backward, whose reference would make autograd copy the weight's gradient.
        ctx.gradients = gradients
        return (total / max(rows, 1)).to(features.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore
        if ctx.gradients is None:
            raise RuntimeError("the gradients of this loss were used up by a first backward pass")
        gradients, ctx.gradients = ctx.gradients, None
        # In place: no other reference exists, and the weight's is large.
        for gradient in gradients:
            gradient.mul_(grad_outputs[0])
        return (*gradients, None)
