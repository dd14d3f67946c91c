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

UNSEEN = 0.1
"""Added to the count of each token, so that those which the training text lacks have a probability."""


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

    @torch.no_grad()
    def start_at(self, counts: Tensor) -> None:
        """Start at the relative frequencies of the training text: the bias becomes their logarithm.

        counts: (vocabulary,). With a bias of zeros, the gradients of all positions first point towards the frequent
        words, and the network spends its first steps and its features on what the bias can say alone.
        """
        self.bias.copy_(log_frequencies(counts))

    @torch.no_grad()
    def divide_unknown(self, old_size: int, unk_id: int, log_shares: Tensor) -> None:
        """Divide the unknown token's probability: new tokens, whose rows are copies of its row, get shares of it.

        old_size: the first new id. log_shares: (1 + new tokens,) of the unknown token and of each new one.
        """
        self.bias[unk_id] += log_shares[0]
        self.bias[old_size:] += log_shares[1:]

    def loss(self, features: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        """The mean of -log p(target), in nats, over rows: features (rows, width), targets (rows,).

        weights: (rows,), if the rows count differently: the sum of weight * -log p, divided by that of the weights.
        """
        return cross_entropy(features, self.weight, self.bias, targets, weights)

    @property
    def logits_a_row(self) -> int:
        """The number of logits to compute for one row of features."""
        return len(self.bias)

    def target_log_probs(self, features: Tensor, targets: Tensor) -> Tensor:
        """log p(target) of each row: features (rows, width), targets (rows,)."""
        pieces = []
        chunk = rows_at_once(self.logits_a_row)
        for rows, wanted in zip(features.split(chunk), targets.split(chunk), strict=True):
            if torch.is_grad_enabled():
                # The backward pass computes logits again instead of keeping them.
                pieces.append(checkpoint(self._gather, rows, wanted, use_reentrant=False))
            else:
                pieces.append(self._gather(rows, wanted))
        return torch.cat(pieces) if pieces else features.new_zeros(0)

    def _gather(self, features: Tensor, targets: Tensor) -> Tensor:
        logits = self.logits(features)
        return logits.gather(1, targets[:, None])[:, 0] - logits.logsumexp(1)


def rows_at_once(logits_a_row: int) -> int:
    """The number of rows whose logits are computed at once."""
    return max(1, min(ROWS, MOST_LOGITS // logits_a_row))


def log_frequencies(counts: Tensor) -> Tensor:
    """(vocabulary,) float64: the logarithm of the relative frequencies of counts, none of which is zero."""
    smoothed = counts.double() + UNSEEN
    return (smoothed / smoothed.sum()).log()


def shares(targets: Tensor, weights: Tensor | None, like: Tensor) -> Tensor:
    """(rows,) the share of each row in the mean loss, of the type of `like`; they sum to one."""
    if weights is None:
        return like.new_full((len(targets),), 1 / max(len(targets), 1))
    weights = weights.to(like)
    return weights / weights.sum().clamp_min(torch.finfo(weights.dtype).tiny)


def cross_entropy(
    features: Tensor,
    weight: Tensor,
    bias: Tensor,
    targets: Tensor,
    weights: Tensor | None = None,
    log_chances: Tensor | None = None,
) -> Tensor:
    """The mean of -log p(target), in nats, over rows, by `ChunkedCrossEntropy`.

    features (rows, width), weight (classes, width), bias (classes,), targets (rows,). weights: as in
    `OutputLayer.loss`. log_chances: (classes,), subtracted from every logit but the target's.
    """
    row_shares = shares(targets, weights, features)
    return ChunkedCrossEntropy.apply(features, weight, bias, targets, row_shares, log_chances)  # pyright: ignore[reportReturnType]


def softmax_(logits: Tensor) -> Tensor:
    """The softmax of each row of (rows, vocabulary), in place if that is known to work."""
    # A row is read completely before it is written; new memory would cost more than the arithmetic.
    return torch.softmax(logits, 1, out=logits) if logits.device.type == "cpu" else logits.softmax(1)


class ChunkedCrossEntropy(torch.autograd.Function):
    """Mean cross-entropy whose gradient is computed chunk by chunk, in the forward pass.

    The gradient of the sum of share * -log p(target) with respect to the logits is share * (p - onehot(target)): it
    is computed together with the logits, which need not be kept. The memory is that of the weight's gradient.
    """

    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        weight: Tensor,
        bias: Tensor,
        targets: Tensor,
        row_shares: Tensor,
        log_chances: Tensor | None,
    ) -> Tensor:
        # Apple's GPUs have no float64.
        exact = torch.float32 if features.device.type == "mps" else torch.float64
        total = features.new_zeros((), dtype=exact)
        gradients = (
            [torch.zeros_like(t) for t in (features, weight, bias)] if any(ctx.needs_input_grad) else []
        )
        shifted = bias if log_chances is None else bias - log_chances

        def logits(x: Tensor, y: Tensor) -> Tensor:
            found = linear(x, weight, shifted, may_copy=False)
            return found if log_chances is None else found.scatter_add_(1, y, log_chances[y])

        chunk = rows_at_once(len(weight))
        for start in range(0, len(features), chunk):
            x, y = features[start : start + chunk], targets[start : start + chunk, None]
            share = row_shares[start : start + chunk]
            probs = softmax_(logits(x, y))
            picked = probs.gather(1, y)[:, 0]
            # The gradient needs the softmax; its logarithm is computed apart only if a target's softmax underflows.
            if bool((picked > torch.finfo(probs.dtype).tiny).all()):
                log_probs = picked.log()
            else:
                log_probs = logits(x, y).log_softmax(1).gather(1, y)[:, 0]
            total -= (log_probs * share).sum(dtype=exact)
            if gradients:
                d_features, d_weight, d_bias = gradients
                d_logits = probs
                d_logits.scatter_add_(1, y, d_logits.new_full((1, 1), -1.0).expand_as(y))
                # The shares multiply the smaller factors, since the logits are far larger.
                d_rows = torch.mm(d_logits, weight, out=d_features[start : start + chunk])
                d_rows *= share[:, None]
                d_weight.addmm_(d_logits.t(), x * share[:, None])
                d_bias.addmv_(d_logits.t(), share)
                del d_logits
            del probs  # before the next chunk allocates as much
        # Not by save_for_backward, whose reference would make autograd copy the weight's gradient.
        ctx.gradients = gradients
        return total.to(features.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore
        if ctx.gradients is None:
            raise RuntimeError("the gradients of this loss were used up by a first backward pass")
        gradients, ctx.gradients = ctx.gradients, None
        # In place: no other reference exists, and the weight's is large.
        for gradient in gradients:
            gradient.mul_(grad_outputs[0])
        return (*gradients, None, None, None)
