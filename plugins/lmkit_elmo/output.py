"""The output layer of the encoder's two language models: a shortlist of words, and a sampled loss for training."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lmkit.neural.linear import linear
from lmkit.neural.output import ROWS, OutputLayer


class ShortlistOutputLayer(OutputLayer):
    """A softmax over the ids below `len(weight)`; the others share the probability of the unknown token evenly.

    ids must be in descending order of frequency, as in the word tokenizer. size: of the vocabulary. unk_id: the
    class of the unknown token; None only if every id has a separate class.
    samples: the loss is a sampled softmax (`sampled_loss`) if there are more than twice as many classes.
    """

    def __init__(self, weight: nn.Parameter, size: int, unk_id: int | None, samples: int) -> None:
        super().__init__(weight)
        self.unk_id = -1 if unk_id is None else unk_id
        self.beyond = size - len(weight)
        assert self.beyond == 0 or 0 <= self.unk_id < len(weight)
        self.samples = samples

    @property
    def log_share(self) -> float:
        """The logarithm of the number of ids that share the unknown token's probability."""
        return math.log1p(self.beyond)

    def logits(self, features: Tensor) -> Tensor:
        rows = super().logits(features)
        if not self.beyond:
            return rows
        shared = rows[..., self.unk_id, None] - self.log_share
        rows = rows.index_copy(-1, torch.tensor([self.unk_id], device=rows.device), shared)
        return torch.cat([rows, shared.expand(*rows.shape[:-1], self.beyond)], -1)

    def loss(self, features: Tensor, targets: Tensor) -> Tensor:
        classes = self._classes(targets)
        if self.training and 0 < 2 * self.samples < len(self.weight):
            loss = sampled_loss(features, self.weight, self.bias, classes, self.samples)
        else:
            loss = super().loss(features, classes)
        return loss + self._shared(classes).mean()

    def _gather(self, features: Tensor, targets: Tensor) -> Tensor:
        classes = self._classes(targets)
        logits = super().logits(features)
        return logits.gather(1, classes[:, None])[:, 0] - logits.logsumexp(1) - self._shared(classes)

    def _classes(self, targets: Tensor) -> Tensor:
        return targets.masked_fill(targets >= len(self.weight), self.unk_id) if self.beyond else targets

    def _shared(self, classes: Tensor) -> Tensor:
        """The increase of each target's -log p if its class is shared."""
        return (classes == self.unk_id) * self.log_share


def sampled_loss(features: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, samples: int) -> Tensor:
    """The mean of -log p(target), in nats, with the sum over all classes estimated from a sample of them.

    Importance sampling (Bengio and Senecal, 2008): besides the target, each class in the sample is weighted by the
    inverse of its probability to be in it, so that the sum is unbiased; its logarithm is slightly too small. The
    sample is drawn from p(k) = log((k + 2) / (k + 1)) / log(classes + 1), Zipf's law for ids in descending order of
    frequency; all rows share it. Only for training: scores use the whole softmax.
    """
    size = len(weight)
    uniform = torch.rand(samples, device=weight.device)
    # The inverse of the distribution function, log(k + 2) / log(size + 1).
    drawn = torch.expm1(uniform * math.log(size + 1)).long().clamp_(max=size - 1).unique()
    wanted = (features * weight[targets]).sum(1) + bias[targets]
    others = bias[drawn] - _log_chance(drawn, size, samples)
    return SampledCrossEntropy.apply(features, weight[drawn], others, wanted, targets, drawn)  # pyright: ignore[reportReturnType]


class SampledCrossEntropy(torch.autograd.Function):
    """The mean of log(exp(wanted) + sum of exp(logits of a sample)) - wanted, a few rows of logits at a time.

    A row's target does not count again if it is in the sample. As in `ChunkedCrossEntropy`, gradients are computed
    in the forward pass, so no logits are kept.
    """

    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        weight: Tensor,
        bias: Tensor,
        wanted: Tensor,
        targets: Tensor,
        drawn: Tensor,
    ) -> Tensor:
        """features (rows, width); weight, bias and drawn of the sample; wanted (rows,) logits of targets (rows,)."""
        total = features.new_zeros(())
        d_features, d_weight, d_bias, d_wanted = (
            torch.zeros_like(t) for t in (features, weight, bias, wanted)
        )
        for start in range(0, len(features), ROWS):
            rows = slice(start, start + ROWS)
            x, own = features[rows], wanted[rows]
            probs = linear(x, weight, bias, may_copy=False)
            probs.masked_fill_(targets[rows, None] == drawn, -torch.inf)
            highest = torch.maximum(probs.amax(1), own)
            probs.sub_(highest[:, None]).exp_()
            own = own - highest
            sums = probs.sum(1) + own.exp()
            total += (sums.log() - own).sum()
            probs /= sums[:, None]
            torch.mm(probs, weight, out=d_features[rows])
            d_weight.addmm_(probs.t(), x)
            d_bias += probs.sum(0)
            d_wanted[rows] = own.exp() / sums - 1
        ctx.gradients = [d / len(features) for d in (d_features, d_weight, d_bias, d_wanted)]
        return total / len(features)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore
        return (*(d * grad_outputs[0] for d in ctx.gradients), None, None)


def _log_chance(ids: Tensor, size: int, samples: int) -> Tensor:
    """The logarithm of the probability that an id is among `samples` draws."""
    once = torch.log1p(1 / (ids.double() + 1)) / math.log(size + 1)
    return torch.log(-torch.expm1(samples * torch.log1p(-once))).float()
