"""The output layer: exact softmax over the vocabulary, a few rows at a time, so logits need little memory."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from lmkit.neural.linear import linear
from lmkit.neural.row_losses import RowLosses, row_losses_for

ROWS = 256
"""Rows of logits computed at once on a CPU: enough for an efficient product, few enough to stay in the cache."""

MOST_LOGITS = 2**24
"""With a large vocabulary, fewer rows are computed at once, so memory is little more than the weight's gradient."""

MOST_BYTES_ON_GPU = 2**29
"""Of logits computed at once on a GPU: a window in few launches, whatever the number of rows."""

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
        return _logits(features, self.weight, self.bias)

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
        chunk = rows_at_once(self.logits_a_row, features.device)
        for rows, wanted in zip(features.split(chunk), targets.split(chunk), strict=True):
            if torch.is_grad_enabled():
                # The backward pass computes logits again instead of keeping them.
                pieces.append(
                    checkpoint(self._gather, rows, wanted, use_reentrant=False, preserve_rng_state=False)
                )
            else:
                pieces.append(self._gather(rows, wanted))
        return torch.cat(pieces) if pieces else features.new_zeros(0)

    def _gather(self, features: Tensor, targets: Tensor) -> Tensor:
        logits = self.logits(features)
        return logits.gather(1, targets[:, None])[:, 0] - logits.logsumexp(1)


def rows_at_once(logits_a_row: int, device: torch.device, bytes_a_logit: int = 4) -> int:
    """The number of rows whose logits are computed at once."""
    if device.type == "cpu":
        return max(1, min(ROWS, MOST_LOGITS // logits_a_row))
    return max(1, MOST_BYTES_ON_GPU // (logits_a_row * bytes_a_logit))


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
    row_shares = shares(targets, weights, bias)
    return ChunkedCrossEntropy.apply(features, weight, bias, targets, row_shares, log_chances)  # pyright: ignore[reportReturnType]


def _logits(x: Tensor, weight: Tensor, bias: Tensor, *, may_copy: bool = True) -> Tensor:
    """x weight' + bias, in the type of the bias: it is float32 where x and weight are bfloat16."""
    if x.dtype == bias.dtype:
        return linear(x, weight, bias, may_copy=may_copy)
    return F.linear(x, weight).to(bias.dtype) + bias


def _softmax(logits: Callable[[], Tensor], targets: Tensor) -> tuple[Tensor, Tensor]:
    """The softmax (rows, vocabulary) of what `logits` computes; log p of the targets (rows, 1), without underflow."""
    if targets.device.type != "cpu":
        log_probs = logits().log_softmax(1)
        picked = log_probs.gather(1, targets)
        return log_probs.exp_(), picked
    # On a CPU the softmax is computed in place, since new memory would cost more than the arithmetic, and its
    # logarithm for all words only where that of a target underflows: a value costs nothing to read there.
    probs = logits()
    torch.softmax(probs, 1, out=probs)
    picked = probs.gather(1, targets)
    if bool((picked > torch.finfo(probs.dtype).tiny).all()):
        return probs, picked.log()
    return probs, logits().log_softmax(1).gather(1, targets)


def by_kernel(
    row_losses: RowLosses,
    features: Tensor,
    weight: Tensor,
    bias: Tensor,
    targets: Tensor,
    row_shares: Tensor,
    wants_gradients: bool,
) -> tuple[Tensor, list[Tensor]]:
    """The loss of `ChunkedCrossEntropy`, and the gradients of features, weight and bias unless nobody wants them.

    Logits have the type of the features, and their gradient replaces them; sums and losses are in float32.
    """
    size, width = len(weight), features.element_size()
    chunk = min(rows_at_once(size, features.device, width), max(1, len(features)))
    # Rows begin at multiples of 16 bytes, as the fast products of a GPU need.
    memory = features.new_empty(chunk, -(-size * width // 16) * 16 // width)[:, :size]
    total = bias.new_zeros((), dtype=torch.float64)
    d_features, d_weight, d_bias = torch.empty_like(features), None, torch.zeros_like(bias)
    for start in range(0, len(features), chunk):
        x, share = features[start : start + chunk], row_shares[start : start + chunk]
        logits = memory[: len(x)]
        torch.mm(x, weight.t(), out=logits)
        losses = row_losses(logits, bias, targets[start : start + chunk], share)
        total += (losses * share).sum(dtype=torch.float64)
        if wants_gradients:
            torch.mm(logits, weight, out=d_features[start : start + chunk])
            product = torch.mm(logits.t(), x)
            d_weight = product if d_weight is None else d_weight.to(bias.dtype).add_(product)
            d_bias += logits.sum(0, dtype=bias.dtype)
    gradients = [d_features, torch.zeros_like(weight) if d_weight is None else d_weight, d_bias]
    return total.to(bias.dtype), gradients if wants_gradients else []


class ChunkedCrossEntropy(torch.autograd.Function):
    """Mean cross-entropy whose gradient is computed chunk by chunk, in the forward pass.

    The gradient of the sum of share * -log p(target) with respect to the logits is share * (p - onehot(target)): it
    is computed together with the logits, which need not be kept. The memory is that of the weight's gradient.
    Features and weight may be bfloat16: logits, loss and the sum of the weight's gradients have the type of the bias.
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
        kernel = row_losses_for(features) if log_chances is None else None
        if kernel is not None:
            total, ctx.gradients = by_kernel(
                kernel, features, weight, bias, targets, row_shares, any(ctx.needs_input_grad)
            )
            return total
        # Apple's GPUs have no float64.
        exact = torch.float32 if features.device.type == "mps" else torch.float64
        total = features.new_zeros((), dtype=exact)
        gradients = []
        if any(ctx.needs_input_grad):
            gradients = [torch.zeros_like(t, dtype=bias.dtype) for t in (features, weight, bias)]
        shifted = bias if log_chances is None else bias - log_chances

        def logits(x: Tensor, y: Tensor) -> Tensor:
            found = _logits(x, weight, shifted, may_copy=False)
            return found if log_chances is None else found.scatter_add_(1, y, log_chances[y])

        chunk = rows_at_once(len(weight), features.device)
        for start in range(0, len(features), chunk):
            x, y = features[start : start + chunk], targets[start : start + chunk, None]
            share = row_shares[start : start + chunk]
            probs, log_probs = _softmax(partial(logits, x, y), y)
            total -= (log_probs[:, 0] * share).sum(dtype=exact)
            if gradients:
                d_features, d_weight, d_bias = gradients
                d_logits = probs
                d_logits.scatter_add_(1, y, d_logits.new_full((1, 1), -1.0).expand_as(y))
                d_bias.addmv_(d_logits.t(), share)
                d_rows = d_features[start : start + chunk]
                # The shares multiply the smaller factors, since the logits are far larger.
                if x.dtype == d_weight.dtype:
                    torch.mm(d_logits, weight, out=d_rows)
                    d_weight.addmm_(d_logits.t(), x * share[:, None])
                else:
                    narrow = d_logits.to(x.dtype)
                    d_rows.copy_(torch.mm(narrow, weight))
                    d_weight += torch.mm(narrow.t(), (x * share[:, None]).to(x.dtype))
                    del narrow
                d_rows *= share[:, None]
                del d_logits
            del probs  # before the next chunk allocates as much
        # Not by save_for_backward, whose reference would make autograd copy the weight's gradient.
        ctx.gradients = gradients
        return total.to(bias.dtype)

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
