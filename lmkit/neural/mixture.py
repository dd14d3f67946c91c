"""The mixture of softmaxes: an output layer whose log-probabilities are not of the rank of its features."""

import torch
from torch import Tensor, nn

from lmkit.neural.output import OutputLayer


class MixtureOutputLayer(OutputLayer):
    """p = sum over k of pi_k softmax(W tanh(V_k h) + b), pi = softmax(U h) (Yang et al., 2018, arXiv:1711.03953).

    features (..., width); weight W: (vocabulary, its width), which may differ from that of the features.
    """

    def __init__(self, weight: nn.Parameter, width: int, experts: int) -> None:
        super().__init__(weight)
        self.experts = experts
        self.priors = nn.Linear(width, experts, bias=False)
        self.latent = nn.Linear(width, experts * weight.shape[1])

    @property
    def width(self) -> int:
        return self.priors.in_features

    @property
    def logits_a_row(self) -> int:
        return self.experts * len(self.bias)

    def logits(self, features: Tensor) -> Tensor:
        """(..., vocabulary), already normalised."""
        latent = torch.tanh(self.latent(features)).unflatten(-1, (self.experts, -1))
        log_priors = torch.log_softmax(self.priors(features).to(self.bias.dtype), -1)
        # The base class's: the softmax of each expert, over the same words.
        experts = torch.log_softmax(super().logits(latent), -1)
        return torch.logsumexp(experts + log_priors[..., None], -2)

    def forward(self, features: Tensor) -> Tensor:
        return self.logits(features)

    def loss(self, features: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        log_probs = self.target_log_probs(features, targets)
        if weights is None:
            return -log_probs.mean()
        return -(log_probs * weights).sum() / weights.sum().clamp_min(torch.finfo(weights.dtype).tiny)

    def _gather(self, features: Tensor, targets: Tensor) -> Tensor:
        return self.logits(features).gather(1, targets[:, None])[:, 0]
