"""The adaptive softmax: frequent words in a small head, rare ones in clusters with narrower layers."""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmkit.errors import UsageError
from lmkit.host_copies import on_host, send
from lmkit.neural.output import OutputLayer, shares

DIVISOR = 4
"""Each cluster has this many times fewer features than the previous one (Grave et al., 2017)."""

DEFAULT_SHARES = (16, 4)
"""By default clusters begin at these fractions of the vocabulary: 1/16 and 1/4."""


class AdaptiveOutputLayer(OutputLayer):
    """Grave et al. (2017), arXiv:1609.04309, as one distribution that sums to one.

    p(w) = p_head(w) for the words before the first cutoff; p(w) = p_head(cluster) p_cluster(w) for the others.
    ids should be in descending order of frequency, as in lmkit's word tokenizer: others are exact but slow.
    cutoffs: the first id of each cluster, ascending; None uses DEFAULT_SHARES. UsageError if one is out of range.
    """

    def __init__(self, width: int, size: int, cutoffs: Sequence[int] | None = None) -> None:
        nn.Module.__init__(self)
        cutoffs = [size // share for share in DEFAULT_SHARES] if cutoffs is None else list(cutoffs)
        bounds = [0, *cutoffs, size]
        if any(low >= high for low, high in pairwise(bounds)):
            raise UsageError(
                f"--cutoffs {','.join(map(str, cutoffs))} must be ascending, between 0 and the vocabulary's "
                f"size, {size}: change them, or use --output softmax"
            )
        self.cutoffs = tuple(cutoffs)
        self.head = OutputLayer(nn.Parameter(torch.empty(cutoffs[0] + len(cutoffs), width)))
        widths = [max(1, width // DIVISOR**index) for index in range(1, len(bounds) - 1)]
        self.projections = nn.ParameterList(torch.empty(narrow, width) for narrow in widths)
        self.clusters = nn.ModuleList(
            OutputLayer(nn.Parameter(torch.empty(high - low, narrow)))
            for narrow, (low, high) in zip(widths, pairwise(bounds[1:]), strict=True)
        )
        for projection in self.projections:
            nn.init.uniform_(projection, -(width**-0.5), width**-0.5)
        for layer in (self.head, *self._layers()):
            nn.init.uniform_(layer.weight, -0.1, 0.1)

    @property
    def bias(self) -> Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The head's weight, for its device and type."""
        return self.head.bias

    @property
    def width(self) -> int:
        return self.head.width

    def logits(self, features: Tensor) -> Tensor:
        """(..., vocabulary), already normalised."""
        head = self.head(features)
        pieces = [head[..., : self.cutoffs[0]]]
        for index, cluster in enumerate(self._layers()):
            own = head[..., self.cutoffs[0] + index, None]
            pieces.append(own + cluster(F.linear(features, self.projections[index])))
        return torch.cat(pieces, -1)

    def forward(self, features: Tensor) -> Tensor:
        return self.logits(features)

    @torch.no_grad()
    def start_at(self, counts: Tensor) -> None:
        first, *bounds = (*self.cutoffs, len(counts))
        within = [counts[low:high] for low, high in pairwise([first, *bounds])]
        self.head.start_at(torch.cat([counts[:first], torch.stack([part.sum() for part in within])]))
        for cluster, part in zip(self._layers(), within, strict=True):
            cluster.start_at(part)

    def divide_unknown(self, old_size: int, unk_id: int, log_shares: Tensor) -> None:
        """Do nothing: new tokens are in the last cluster, which has no share of a word in the head."""

    def loss(self, features: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        total = self.head.loss(features, self._head_targets(targets), weights)
        row_shares = shares(targets, weights, self.bias)
        for index, rows, within in self._members(targets):
            narrow = F.linear(features[rows], self.projections[index])
            own = self._layers()[index].loss(narrow, within, row_shares[rows])
            total = total + own * row_shares[rows].sum()
        return total

    def target_log_probs(self, features: Tensor, targets: Tensor) -> Tensor:
        scores = self.head.target_log_probs(features, self._head_targets(targets))
        for index, rows, within in self._members(targets):
            narrow = F.linear(features[rows], self.projections[index])
            scores = scores.index_add(0, rows, self._layers()[index].target_log_probs(narrow, within))
        return scores

    def _layers(self) -> list[OutputLayer]:
        return list(self.clusters)  # pyright: ignore[reportReturnType]

    def _head_targets(self, targets: Tensor) -> Tensor:
        """The head's targets: the word itself, or the index of its cluster after the head's words."""
        clusters = torch.zeros_like(targets)
        for cutoff in self.cutoffs:
            clusters += targets >= cutoff
        return torch.where(clusters == 0, targets, self.cutoffs[0] + clusters - 1)

    def _members(self, targets: Tensor) -> list[tuple[int, Tensor, Tensor]]:
        """For each cluster with targets: its number, their rows, and their indices within it."""
        found, known = [], on_host(targets)
        highs = [*self.cutoffs[1:], None]
        for index, (low, high) in enumerate(zip(self.cutoffs, highs, strict=True)):
            inside = known >= low if high is None else (known >= low) & (known < high)
            rows = send(inside.nonzero()[:, 0], targets.device)
            if len(rows):
                found.append((index, rows, targets[rows] - low))
        return found
