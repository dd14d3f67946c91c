"""The model itself: numpy arrays, no weights."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import Tensor

from lmkit.contracts import LanguageModel, State, Vocabulary
from lmkit.errors import ModelError

if TYPE_CHECKING:
    from lmkit.contracts import FitContext
    from lmkit.corpus.store import TokenStore


class BigramModel(LanguageModel):
    """p(b | a) = (count(a b) + k) / (count(a) + k V); alone, p(b) = (count(b) + k) / (N + k V).

    Counts are kept sparse: `keys` holds a V + b in order, with a = V for the counts of b alone.
    """

    def __init__(self, options: Any, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.k = options.k
        self.keys = np.zeros(0, np.int64)
        self.counts = np.zeros(0, np.int64)

    def fit(self, corpus: "TokenStore", run: "FitContext") -> None:
        size = self.vocabulary.size
        tokens = np.asarray(corpus.tokens, np.int64)
        # `</s>` ends each line, so it also precedes the first token of the next.
        before = np.concatenate([[self.vocabulary.eos_id], tokens[:-1]])
        pairs = np.concatenate([before * size + tokens, size * size + tokens])
        self.keys, self.counts = np.unique(pairs, return_counts=True)

    def parameter_count(self) -> int:
        return len(self.counts)

    def initial_state(self, batch_size: int, *, start: bool = True) -> State:
        return torch.full((batch_size,), self.vocabulary.eos_id if start else self.vocabulary.size)

    def next_log_probs(self, state: State) -> Tensor:
        assert isinstance(state, Tensor)
        rows = [self._row(before) for before in state.tolist()]
        return torch.from_numpy(np.stack(rows)).float()

    def advance(self, ids: Tensor, state: State) -> State:
        return ids

    def save(self, directory: Path) -> None:
        np.save(directory / "keys.npy", self.keys)
        np.save(directory / "counts.npy", self.counts)
        (directory / "bigram.json").write_text(json.dumps({"k": self.k, "size": self.vocabulary.size}))

    @classmethod
    def load(cls, directory: Path, options: Any, vocabulary: Vocabulary) -> Self:
        model = cls(options, vocabulary)
        try:
            settings = json.loads((directory / "bigram.json").read_text())
            keys = np.load(directory / "keys.npy", allow_pickle=False)
            counts = np.load(directory / "counts.npy", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise ModelError(f"{directory}: the bigram model is damaged ({error}); train it again") from error
        limit = vocabulary.size * (vocabulary.size + 1)
        ordered = keys.ndim == 1 and keys.shape == counts.shape and bool((np.diff(keys) > 0).all())
        if settings.get("size") != vocabulary.size or not ordered or not ((keys >= 0) & (keys < limit)).all():
            raise ModelError(f"{directory}: the bigram model does not fit its vocabulary; train it again")
        model.k, model.keys, model.counts = settings["k"], keys, counts
        return model

    def _row(self, before: int) -> np.ndarray:
        """(size,) log-probabilities of what follows token `before`."""
        size = self.vocabulary.size
        first, last = np.searchsorted(self.keys, [before * size, (before + 1) * size])
        row = np.full(size, self.k)
        row[self.keys[first:last] - before * size] += self.counts[first:last]
        return np.log(row / row.sum())
