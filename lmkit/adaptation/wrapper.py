"""Wrapper: the base class of causal models that change the scores of another causal model."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from lmkit import states
from lmkit.contracts import LanguageModel, Vocabulary
from lmkit.states import State


class Wrapper(LanguageModel):
    """A causal model around another; it is made of a loaded model, and is not saved."""

    def __init__(self, model: LanguageModel) -> None:
        self.inner = model
        self.vocabulary = model.vocabulary
        self.reset_policy = model.reset_policy
        self.normalized = model.normalized

    @property
    def device(self) -> torch.device:
        return self.inner.device

    def place(self, device: torch.device) -> Self:
        self.inner.place(device)
        return self

    def initial_state(self, batch_size: int, *, start: bool = True) -> State:
        return self.inner.initial_state(batch_size, start=start)

    def next_log_probs(self, state: State) -> Tensor:
        return self.inner.next_log_probs(state)

    def key(self, state: State) -> Tensor | None:
        return self.inner.key(state)

    def log_probs(self, ids: Tensor, state: State, *, reset: Tensor | None = None) -> tuple[Tensor, State]:
        scores, _, state = self.keyed_log_probs(ids, state, reset=reset)
        return scores, state

    def scan(
        self, ids: Tensor, state: State, *, reset: Tensor | None = None
    ) -> Iterator[tuple[Tensor, State]]:
        for rows, _, after in self.keyed_scan(ids, state, reset=reset):
            yield rows, after

    def count(self, ids: Any) -> int:
        return self.inner.count(ids)

    def parameter_count(self) -> int:
        return self.inner.parameter_count()

    def save(self, directory: Path) -> None:
        self.inner.save(directory)

    @classmethod
    def load(cls, directory: Path, options: Any, vocabulary: Vocabulary) -> Self:
        raise NotImplementedError("load the model inside, then wrap it")


class LineResets(Wrapper):
    """A model that is reset at every line, as one that is reset at documents: after each `</s>` it resets itself."""

    def __init__(self, model: LanguageModel) -> None:
        super().__init__(model)
        self.reset_policy = "document"

    def advance(self, ids: Tensor, state: State) -> State:
        return self._line_ended(ids, self.inner.advance(ids, state))

    def keyed_log_probs(
        self, ids: Tensor, state: State, *, reset: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None, State]:
        scores, keys, after = self.inner.keyed_log_probs(ids, state, reset=self._resets(ids, reset))
        return scores, keys, self._line_ended(ids[:, -1], after) if ids.shape[1] else after

    def keyed_scan(
        self, ids: Tensor, state: State, *, reset: Tensor | None = None
    ) -> Iterator[tuple[Tensor, Tensor | None, State]]:
        at = 0
        for rows, keys, after in self.inner.keyed_scan(ids, state, reset=self._resets(ids, reset)):
            at += rows.shape[1]
            yield rows, keys, self._line_ended(ids[:, at - 1], after) if at else after

    def _resets(self, ids: Tensor, reset: Tensor | None) -> Tensor:
        """The given resets, and one after each `</s>`."""
        resets = torch.zeros_like(ids, dtype=torch.bool) if reset is None else reset.clone()
        resets[:, 1:] |= ids[:, :-1] == self.vocabulary.eos_id
        return resets

    def _line_ended(self, last: Tensor, after: State) -> State:
        """The state after tokens of which each row's last is `last`."""
        ends = last == self.vocabulary.eos_id
        return states.where(ends, self.inner.initial_state(len(ends)), after) if bool(ends.any()) else after


def carried_over_lines(model: LanguageModel) -> LanguageModel:
    """The model itself, or, if it is reset at every line, one that does this by itself."""
    return LineResets(model) if model.reset_policy == "line" else model
