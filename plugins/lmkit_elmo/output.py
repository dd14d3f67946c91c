"""The output layer of the encoder's two language models: a shortlist of words, and a sampled loss for training."""

import math

import torch
from torch import Tensor, nn

from lmkit.host_copies import derive
from lmkit.neural.output import shares
from lmkit.neural.sampled import SampledOutputLayer


class ShortlistOutputLayer(SampledOutputLayer):
    """A softmax over the ids below `len(weight)`; the others share the probability of the unknown token evenly.

    ids must be in descending order of frequency, as in the word tokenizer. size: of the vocabulary. unk_id: the
    class of the unknown token; None only if every id has a separate class.
    samples: the loss is a sampled softmax in training if there are more than twice as many classes.
    """

    def __init__(self, weight: nn.Parameter, size: int, unk_id: int | None, samples: int) -> None:
        super().__init__(weight, samples)
        self.unk_id = -1 if unk_id is None else unk_id
        self.beyond = size - len(weight)
        self.is_sampled = 0 < 2 * samples < len(weight)
        assert self.beyond == 0 or 0 <= self.unk_id < len(weight)

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

    def start_at(self, counts: Tensor) -> None:
        super().start_at(self._class_counts(counts))

    def divide_unknown(self, old_size: int, unk_id: int, log_shares: Tensor) -> None:
        # New ids past the shortlist stay in the class of the unknown token.
        own = log_shares[1 : 1 + max(len(self.bias) - old_size, 0)]
        rest = torch.cat([log_shares[:1], log_shares[1 + len(own) :]]).logsumexp(0)
        super().divide_unknown(old_size, unk_id, torch.cat([rest[None], own]))

    def sample_from(self, counts: Tensor) -> None:
        super().sample_from(self._class_counts(counts))

    def _class_counts(self, counts: Tensor) -> Tensor:
        """(classes,) from the counts of all ids."""
        if len(counts) == len(self.bias):
            return counts
        classes = counts[: len(self.bias)].clone()
        classes[self.unk_id] += counts[len(self.bias) :].sum()
        return classes

    def loss(
        self,
        features: Tensor,
        targets: Tensor,
        weights: Tensor | None = None,
        tokens: Tensor | None = None,
    ) -> Tensor:
        """As of the base class. tokens: those of the whole step, for the sample, if `targets` are only some of them."""
        classes = self._classes(targets)
        if self.training and self.is_sampled:
            sample = self.sample(classes if tokens is None else self._classes(tokens))
            loss = self.sampled_loss(features, classes, sample, weights)
        else:
            loss = super().loss(features, classes, weights)
        return loss + (self._shared(classes) * shares(targets, weights, self.bias)).sum()

    def _gather(self, features: Tensor, targets: Tensor) -> Tensor:
        classes = self._classes(targets)
        logits = super().logits(features)
        return logits.gather(1, classes[:, None])[:, 0] - logits.logsumexp(1) - self._shared(classes)

    def _classes(self, targets: Tensor) -> Tensor:
        if not self.beyond:
            return targets
        return derive(lambda t: t.masked_fill(t >= len(self.weight), self.unk_id), targets)

    def _shared(self, classes: Tensor) -> Tensor:
        """The increase of each target's -log p if its class is shared."""
        return (classes == self.unk_id) * self.log_share
