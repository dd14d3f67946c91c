"""The infini-gram model: the words that followed the longest context that the text has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from lmkit import strict_json
from lmkit.contracts import LanguageModel, Vocabulary
from lmkit.errors import ModelError
from lmkit.states import State
from lmkit_ngram import queries
from lmkit_ngram.array_files import read_header, vocabulary_facts, whole
from lmkit_ngram.count import sort_text
from lmkit_ngram.infinite_kernels import Index, begin, fill_rows, score
from lmkit_ngram.infinite_options import InfiniteOptions
from lmkit_ngram.model_files import FOLDER, load_text, save_text
from lmkit_ngram.queries import DAMAGED
from lmkit_ngram.table import TextIndex
from lmkit_ngram.tensors import as_array, as_tensor
from lmkit_ngram.text_counts import checked_ids, count_words
from lmkit_ngram.threads import available

if TYPE_CHECKING:
    from torch import Tensor

    from lmkit.contracts import FitContext
    from lmkit.corpus.store import TokenStore


HEADER = "infini-gram.json"
FORMAT = 1


class InfiniGramModel(LanguageModel):
    """p(word | the longest end of the line so far that occurs in the training text, often enough) (Liu et al., 2024).

    c(context word) / c(context), without smoothing: zero for a word that never followed this context, so the model
    is useful in a mixture. A state is int64 (batch, 3): see `infinite_kernels`.
    """

    def __init__(self, options: InfiniteOptions, vocabulary: Vocabulary) -> None:
        self.options = options
        self.vocabulary = vocabulary
        self._index: Index | None = None
        self._where = "the infini-gram model"

    def fit(self, corpus: TokenStore, run: FitContext) -> None:
        vocabulary, depth = self.vocabulary, self.options.longest + 1
        text, positions = sort_text(
            corpus.tokens, corpus.num_lines, vocabulary.size, vocabulary.eos_id, depth,
            threads=run.threads or available(),
        )[:2]  # fmt: skip
        self._fill(TextIndex(text, positions))

    def save(self, directory: Path) -> None:
        index, folder = self._ready(), directory / FOLDER
        folder.mkdir(exist_ok=True)
        save_text(folder, TextIndex(index.text, index.positions))
        header = {
            "format": FORMAT,
            **vocabulary_facts(self.vocabulary),
            "depth": index.depth,
            "text": [len(index.text), len(index.positions)],
        }
        (directory / HEADER).write_text(strict_json.dumps(header, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, directory: Path, options: InfiniteOptions, vocabulary: Vocabulary) -> Self:
        model = cls(options, vocabulary)
        model._where = str(directory)
        path = directory / HEADER
        header = read_header(path, [FORMAT], vocabulary)
        whole(header.get("depth"), options.longest + 1, options.longest + 1, path, "depth")
        model._fill(load_text(directory / FOLDER, header.get("text"), path))
        return model

    def parameter_count(self) -> int:
        """The positions of the text."""
        return 0 if self._index is None else len(self._index.positions)

    def initial_state(self, batch_size: int, *, start: bool = True) -> Tensor:
        return as_tensor(np.tile(self._start(begins=start), (batch_size, 1)))

    def _start(self, *, begins: bool = True) -> np.ndarray:
        index = self._ready()
        state = np.array([0, len(index.positions), 0])
        if begins:
            begin(index, state)
        return state

    def next_log_probs(self, state: State) -> Tensor:
        states = _rows(state)
        rows = np.empty((len(states), self.vocabulary.size), np.float32)
        self._check(fill_rows(self._ready(), states, rows))
        return as_tensor(rows)

    def advance(self, ids: Tensor, state: State) -> Tensor:
        return self.log_probs(ids[:, None], state)[1]

    def log_probs(self, ids: Tensor, state: State, *, reset: Tensor | None = None) -> tuple[Tensor, Tensor]:
        states = _rows(state)
        scores = self._scores(ids.numpy(), states, None if reset is None else reset.numpy())
        return as_tensor(scores), as_tensor(states)

    def line_log_probs(self, ids: np.ndarray) -> np.ndarray:
        if not len(ids):
            return np.zeros(0)
        return self._scores(ids[None], self._start()[None], None)[0].astype(np.float64)

    def _scores(self, ids: np.ndarray, states: np.ndarray, reset: np.ndarray | None) -> np.ndarray:
        """(batch, time) log-probabilities; states: updated."""
        words = checked_ids(ids, self.vocabulary)
        resets = np.zeros(words.shape, np.bool_) if reset is None else np.ascontiguousarray(reset)
        scores = np.empty(words.shape, np.float32)
        self._check(score(self._ready(), words, resets, states, scores))
        return scores

    def count(self, ids: Sequence[int]) -> int:
        """The count of any number of consecutive words; `<s>` may come first, and `</s>` last."""
        index = self._ready()
        text = TextIndex(index.text, index.positions)
        return self._check(count_words(text, ids, self.vocabulary, index.depth))

    def _fill(self, index: TextIndex) -> None:
        text, positions = queries.as_text(index)
        lines = len(text) - len(positions)
        vocabulary, options = self.vocabulary, self.options
        self._index = Index(
            text, positions, options.longest + 1, options.occurrences, vocabulary.eos_id, vocabulary.size,
            len(text) - lines, lines,
        )  # fmt: skip

    def _ready(self) -> Index:
        if self._index is None:
            raise ModelError("the infini-gram model is empty: fit it or load it")
        return self._index

    def _check(self, code: int) -> int:
        if code == DAMAGED:
            raise ModelError(
                f"{self._where}: the sorted text is damaged (a position leads outside it); restore it from a backup or "
                "train again"
            )
        return code


def _rows(state: State) -> np.ndarray:
    """(batch, 3) a copy of the states."""
    return as_array(state).copy()
