"""The n-gram model: next words, scores and counts from a table of n-grams."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from lmkit.contracts import LanguageModel, Vocabulary
from lmkit.errors import ModelError
from lmkit.states import State
from lmkit_ngram import model_files as files
from lmkit_ngram import queries, stupid_backoff
from lmkit_ngram.estimate import check_options, fit_model
from lmkit_ngram.model_files import StoredModel
from lmkit_ngram.options import NgramOptions
from lmkit_ngram.queries import DAMAGED, LN10, NOTHING, Grams
from lmkit_ngram.scorer import StreamScorer
from lmkit_ngram.table import NgramTable, TextIndex
from lmkit_ngram.tensors import as_array, as_tensor
from lmkit_ngram.text_counts import checked_ids, count_words

if TYPE_CHECKING:
    from torch import Tensor

    from lmkit.contracts import FitContext
    from lmkit.corpus.store import TokenStore

_FLOAT64_LN10 = np.float64(LN10)
"""As a float64, which makes float32 scores float64."""


class NgramModel(LanguageModel):
    """p(word | the order - 1 words before it, back to `<s>`) with backoff, on the CPU, without gradients.

    A state is an int64 tensor (batch,): the id of the longest context in the table; -1 without information.
    With stupid backoff it is (batch, 2): that id, and the number of words that the context lacks from order - 1.
    table: the n-grams. index: the text that they were counted in, or None.
    """

    table: NgramTable
    index: TextIndex | None

    def __init__(self, options: NgramOptions, vocabulary: Vocabulary) -> None:
        self.options = options
        self.vocabulary = vocabulary
        self._grams: Grams | None = None
        self._where = "the n-gram model"

    @classmethod
    def from_table(cls, options: NgramOptions, vocabulary: Vocabulary, stored: StoredModel) -> Self:
        """A model of existing n-grams: from its own files, or from those of another program."""
        model = cls(options, vocabulary)
        model._fill(stored)
        return model

    @classmethod
    def check_options(cls, options: NgramOptions) -> None:
        check_options(options)

    def fit(self, corpus: TokenStore, run: FitContext) -> None:
        self._fill(fit_model(corpus, self.vocabulary, self.options, run))

    def save(self, directory: Path) -> None:
        files.save(directory, self.stored, self.vocabulary)

    @classmethod
    def load(cls, directory: Path, options: NgramOptions, vocabulary: Vocabulary) -> Self:
        model = cls.from_table(options, vocabulary, files.load(directory, vocabulary))
        model._where = str(directory)
        return model

    @property
    def stored(self) -> StoredModel:
        """The contents of the model's files."""
        self._ready()
        return StoredModel(
            self.table, self.index, self._smoothing, self.normalized, self._alpha, self._packed
        )

    def parameter_count(self) -> int:
        """Probabilities and backoffs."""
        return 0 if self._grams is None else len(self._grams.log_probs) + len(self._grams.backoffs)

    def initial_state(self, batch_size: int, *, start: bool = True) -> Tensor:
        import torch

        states = torch.full((batch_size,), self._ready().start if start else NOTHING)
        if self._alpha is None:
            return states
        return torch.stack(
            [states, torch.full_like(states, self._missing if start else self.table.order - 1)], 1
        )

    def next_log_probs(self, state: State) -> Tensor:
        states, missing = _split(state)
        rows = np.empty((len(states), self.vocabulary.size), np.float32)
        self._check(queries.fill_distributions(self._ready(), states, self._lifts(missing), rows))
        return as_tensor(rows)

    def advance(self, ids: Tensor, state: State) -> Tensor:
        return self.log_probs(ids[:, None], state)[1]

    def log_probs(self, ids: Tensor, state: State, *, reset: Tensor | None = None) -> tuple[Tensor, Tensor]:
        words, (states, missing) = checked_ids(ids.numpy(), self.vocabulary), _split(state)
        resets = np.zeros(words.shape, np.bool_) if reset is None else np.ascontiguousarray(reset.numpy())
        scores = np.empty(words.shape, np.float32)
        self._check(queries.score_rows(self._ready(), words, resets, states, scores))
        self._lift(words, resets, missing, scores)
        after = as_tensor(states if self._alpha is None else np.stack([states, missing], 1))
        return as_tensor(scores) * LN10, after

    def line_log_probs(self, ids: np.ndarray) -> np.ndarray:
        if not len(ids):
            return np.zeros(0)
        words = checked_ids(ids, self.vocabulary)
        self._ready()
        scores = self._scorer.score(words)
        if scores is None:
            raise self._damaged()
        if self._alpha is not None:
            reset = np.zeros((1, len(words)), np.bool_)
            self._lift(words[None], reset, np.array([self._missing]), scores[None])
        return scores * _FLOAT64_LN10

    def top_k(self, state: State, k: int) -> tuple[Tensor, Tensor]:
        grams, (states, missing) = self._ready(), _split(state)
        lifts = self._lifts(missing)
        shape = len(states), min(k, self.vocabulary.size)
        log_probs, words = np.empty(shape, np.float32), np.empty(shape, np.int64)
        for row in range(len(states)):
            self._check(
                queries.find_top(
                    grams, states[row], lifts[row], self.vocabulary.size, words[row], log_probs[row]
                )
            )
        return as_tensor(log_probs), as_tensor(words)

    def count(self, ids: Sequence[int]) -> int:
        """The count of any number of consecutive words in the training text.

        ids: `<s>`, which is vocabulary.size, may come first, and `</s>` last; without ids, the number of tokens.
        Raises ModelError if the model did not store its text, UsageError for invalid ids.
        """
        self._ready()
        if self.index is None:
            raise ModelError(f"{self._where} did not store its training text: train it with --store-text")
        return self._check(count_words(self.index, ids, self.vocabulary, self.table.order))

    def _fill(self, stored: StoredModel) -> None:
        self.table, self.index = stored.table, stored.index
        self.normalized, self._smoothing, self._alpha = stored.normalized, stored.smoothing, stored.alpha
        self._packed = stored.packed
        self._log_alpha = 0.0 if stored.alpha is None else math.log10(stored.alpha)
        self._missing = stupid_backoff.missing_at_start(stored.table.order)
        self._grams = queries.as_grams(stored.table, self.vocabulary.eos_id)
        self._scorer = StreamScorer(self._grams)

    def _ready(self) -> Grams:
        if self._grams is None:
            raise ModelError("the n-gram model is empty: fit it or load it")
        return self._grams

    def _lifts(self, missing: np.ndarray) -> np.ndarray:
        return missing * -self._log_alpha

    def _lift(self, words: np.ndarray, resets: np.ndarray, missing: np.ndarray, scores: np.ndarray) -> None:
        """Correct scores of stupid backoff; missing: of the states, updated."""
        if self._alpha is not None:
            stupid_backoff.lift(
                words, resets, missing, self.vocabulary.eos_id, self._missing, self._log_alpha, scores
            )

    def _check(self, code: int) -> int:
        if code == DAMAGED:
            raise self._damaged()
        return code

    def _damaged(self) -> ModelError:
        return ModelError(
            f"{self._where}: the n-grams are damaged (a link leads outside them); restore it from a backup or "
            "train again"
        )


def _split(state: State) -> tuple[np.ndarray, np.ndarray]:
    """(batch,) ids of contexts and (batch,) missing words, as copies."""
    states = as_array(state)
    if states.ndim == 1:
        return states.copy(), np.zeros(len(states), np.int64)
    return states[:, 0].copy(), states[:, 1].copy()
