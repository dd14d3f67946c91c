"""Generation in which no n-gram occurs twice, for any decoder."""

from pathlib import Path
from typing import Any, NoReturn, Self

import torch
from torch import Tensor

from lmkit.contracts import LanguageModel, State, Vocabulary
from lmkit.errors import UsageError

BEFORE = -1
"""The padding id in front of shorter rows; it is not a token."""


class WithoutRepeats(LanguageModel):
    """A model for decoders that gives -inf to each token that would complete an n-gram of its row again.

    All other log-probabilities, and so those of hypotheses, are the model's. A state is the model's state and the
    previous ids, (batch, length).
    """

    normalized = False

    def __init__(self, model: LanguageModel, order: int) -> None:
        if order < 1:
            raise UsageError(f"no_repeat_ngram is {order}: it must be at least 1")
        self.model = model
        self.order = order
        self.vocabulary = model.vocabulary
        self.reset_policy = model.reset_policy

    @property
    def device(self) -> torch.device:
        return self.model.device

    def initial_state(self, batch_size: int, *, start: bool = True) -> State:
        ids = torch.zeros(batch_size, 0, dtype=torch.long, device=self.device)
        return (self.model.initial_state(batch_size, start=start), ids)

    def next_log_probs(self, state: State) -> Tensor:
        own, ids = _parts(state)
        log_probs = self.model.next_log_probs(own)
        rows, tokens = repeating(ids, self.order)
        return log_probs.index_put(
            (rows.to(log_probs.device), tokens.to(log_probs.device)), log_probs.new_tensor(-torch.inf)
        )

    def advance(self, ids: Tensor, state: State) -> State:
        own, before = _parts(state)
        return (self.model.advance(ids, own), torch.cat([before, ids[:, None].to(before.device)], 1))

    def save(self, directory: Path) -> NoReturn:
        raise NotImplementedError("the model inside is what is saved")

    @classmethod
    def load(cls, directory: Path, options: Any, vocabulary: Vocabulary) -> Self:
        raise NotImplementedError("the model inside is what is loaded")


def repeating(ids: Tensor, order: int) -> tuple[Tensor, Tensor]:
    """Return the row numbers and the tokens (n,) that would complete an n-gram already in the row of `ids`."""
    if ids.shape[1] < order:
        return ids.new_zeros(0), ids.new_zeros(0)
    ngrams = ids.unfold(1, order, 1)  # (batch, places, order)
    last = ids[:, ids.shape[1] - order + 1 :]
    same = (ngrams[:, :, :-1] == last[:, None]).all(-1) & (ngrams != BEFORE).all(-1)
    rows, places = same.nonzero(as_tuple=True)
    return rows, ngrams[rows, places, -1]


def padded(rows: list[list[int]]) -> Tensor:
    """Rows of ids as one tensor (batch, length), shorter ones padded in front."""
    longest = max(map(len, rows))
    return torch.tensor([[BEFORE] * (longest - len(row)) + row for row in rows], dtype=torch.long)


def _parts(state: State) -> tuple[State, Tensor]:
    assert isinstance(state, tuple)
    own, ids = state
    assert isinstance(ids, Tensor)
    return own, ids
