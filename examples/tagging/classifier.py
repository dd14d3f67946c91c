"""A linear classifier on dense vectors, on ids of sparse features, or on both together."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STEPS = 200
"""Steps of L-BFGS at most."""


@dataclass(frozen=True)
class Rows:
    """What is known of each word: dense (words, width), sparse (words, features) ids, or both."""

    dense: Tensor | None = None
    sparse: Tensor | None = None


@dataclass(frozen=True)
class Penalties:
    """What half the squared norm of the dense and of the sparse weights counts beside the summed loss."""

    dense: float = 0.0
    sparse: float = 0.0


class LinearClassifier(nn.Module):
    """Multinomial logistic regression, its dense inputs standardised on the rows that it is fitted to."""

    def __init__(self, rows: Rows, targets: Tensor, classes: int, penalties: Penalties) -> None:
        """Fit to rows and their classes (words,): L-BFGS on the loss with the penalties, from zero."""
        super().__init__()
        self.mean, self.scale = _spread(rows.dense)
        width = 0 if rows.dense is None else rows.dense.shape[1]
        names = 0 if rows.sparse is None else int(rows.sparse.max()) + 1
        self.bias = nn.Parameter(torch.zeros(classes))
        self.dense = nn.Parameter(torch.zeros(width, classes))
        self.sparse = nn.Parameter(torch.zeros(names, classes))
        self._fit(rows, targets, penalties)

    def _fit(self, rows: Rows, targets: Tensor, penalties: Penalties) -> None:
        rows = Rows(self._standardised(rows.dense), rows.sparse)
        optimiser = torch.optim.LBFGS(
            self.parameters(),
            max_iter=STEPS,
            history_size=10,
            tolerance_grad=1e-5,
            line_search_fn="strong_wolfe",
        )

        def closure() -> Tensor:
            optimiser.zero_grad()
            norms = (
                penalties.dense * self.dense.square().sum() + penalties.sparse * self.sparse.square().sum()
            )
            loss = F.cross_entropy(self._scores(rows), targets) + norms / (2 * len(targets))
            loss.backward()
            return loss

        optimiser.step(closure)

    @torch.no_grad()
    def predict(self, rows: Rows) -> Tensor:
        """(words,) the likeliest class of each."""
        return self._scores(Rows(self._standardised(rows.dense), rows.sparse)).argmax(1)

    def _standardised(self, dense: Tensor | None) -> Tensor | None:
        return None if dense is None else (dense - self.mean) / self.scale

    def _scores(self, rows: Rows) -> Tensor:
        """(words, classes)."""
        scores = self.bias
        if rows.dense is not None:
            scores = scores + rows.dense @ self.dense
        if rows.sparse is not None:
            # Row 0 is every feature that was not seen: it stays zero.
            scores = scores + F.embedding_bag(rows.sparse, self.sparse, mode="sum", padding_idx=0)
        return scores


def _spread(dense: Tensor | None) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each column; a column that is constant has one of 1."""
    if dense is None:
        return torch.zeros(0), torch.ones(0)
    deviation = dense.std(0, correction=0)
    return dense.mean(0), torch.where(deviation > 0, deviation, 1.0)
