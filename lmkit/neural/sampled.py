"""The sampled softmax: train on a sample of the vocabulary, and score with the exact softmax."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lmkit.host_copies import on_host, send
from lmkit.neural.output import OutputLayer, cross_entropy, log_frequencies
from lmkit.neural.rows import TokenRows

POWER = 0.75
"""Samples are drawn from the relative frequencies to this power."""


class SampledOutputLayer(OutputLayer):
    """An output layer whose loss in training estimates the sum over the vocabulary from a sample of it.

    All rows of a step share the sample: `samples` draws with replacement and every token of the step itself. From
    each logit but the target's, the logarithm of the probability of being in the sample is subtracted, so that the
    estimate of the sum has no bias (importance sampling: Bengio and Senecal, 2008; the logQ correction). The
    loss is slightly too small, and is not a perplexity; scores always use the exact softmax.
    """

    def __init__(self, weight: nn.Parameter, samples: int) -> None:
        super().__init__(weight)
        self.samples = samples
        self.sample_from(torch.ones(len(weight)))

    def sample_from(self, counts: Tensor) -> None:
        """Draw samples by the frequencies of the training text; counts: (vocabulary,)."""
        frequency = log_frequencies(counts).exp()
        self._draw = frequency**POWER / (frequency**POWER).sum()
        self._ends = self._draw.cumsum(0)
        self._frequency = frequency.clamp(max=1 - 1e-9)

    def sample(self, tokens: Tensor) -> "Sample":
        """The rows for one step: those of its tokens (any number of ids), and of the samples."""
        drawn = torch.searchsorted(self._ends, torch.rand(self.samples, dtype=torch.float64) * self._ends[-1])
        rows = TokenRows(torch.cat([on_host(tokens), drawn]), self.bias.device)
        ids = on_host(rows.ids)
        missed = self.samples * torch.log1p(-self._draw[ids])
        missed += len(tokens) * torch.log1p(-self._frequency[ids])
        log_chances = torch.log(-torch.expm1(missed)).to(self.bias.dtype)
        return Sample(rows, send(log_chances, self.bias.device))

    def sampled_loss(
        self, features: Tensor, targets: Tensor, sample: "Sample", weights: Tensor | None = None
    ) -> Tensor:
        """`loss` over a sample, which contains the targets, instead of the whole vocabulary."""
        rows = sample.rows
        weight, bias = rows.of(self.weight), rows.of(self.bias)
        return cross_entropy(features, weight, bias, rows.places(targets), weights, sample.log_chances)


@dataclass(frozen=True)
class Sample:
    """The rows that one step reads, and (rows,) the logarithm of the probability that each is among them."""

    rows: TokenRows
    log_chances: Tensor
