"""A causal model of transformers as a language model of lmkit."""

import inspect
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from lmkit.contracts import LanguageModel, Vocabulary
from lmkit.errors import ModelError, UsageError
from lmkit.states import State
from lmkit_transformers.folder import copy_model, load_model
from lmkit_transformers.options import TransformersOptions
from lmkit_transformers.windows import Window, cut, kept

if TYPE_CHECKING:
    from lmkit.contracts import FitContext
    from lmkit.corpus.store import TokenStore

MOST_SCORES = 1 << 26
"""Logits to compute at once (256 MiB), at least those of one window."""
NOT_TRAINED = (
    "a transformers model is imported, not trained: lmkit import transformers FOLDER --out RUN, with the folder of a "
    "trained model"
)


class TransformersModel(nn.Module, LanguageModel):
    """p(token | the tokens before it in a window of `options.context`), by any causal model of transformers.

    Every text begins with the token `begin_id`, which is never predicted. A state without information predicts from
    `begin_id` too, and forgets it. A text that fills the context goes on with the latest half of it, without
    `begin_id`, as `windows` describes. Ids of the network beyond the vocabulary, which no text has, get no
    probability. The state is the tokens that the next is predicted from: (batch, context), and how many, (batch, 1).
    Each call reads them again, since a cache of keys and values would take megabytes a row.
    """

    network: Any
    folder: Path
    _keeps_logits: bool
    """Whether the network computes logits of the last tokens alone when it is asked to."""

    def __init__(self, options: TransformersOptions, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.options = options
        self.vocabulary = vocabulary
        self.reset_policy = options.reset

    @classmethod
    def check_options(cls, options: TransformersOptions) -> None:
        raise UsageError(NOT_TRAINED)

    def fit(self, corpus: "TokenStore", run: "FitContext") -> None:
        raise UsageError(NOT_TRAINED)

    @classmethod
    def around(cls, network: Any, folder: Path, options: TransformersOptions, vocabulary: Vocabulary) -> Self:
        """The model of a network loaded from a folder. ModelError if it does not have the ids or the context."""
        model = cls(options, vocabulary)
        model.network, model.folder = network, folder
        size, longest = network.config.vocab_size, longest_context(network.config)
        if not max(vocabulary.size, options.begin_id + 1) <= size:
            raise ModelError(
                f"{folder}: its model has {size:,} ids, too few for its tokenizer ({vocabulary.size:,}) and the token "
                f"before a text ({options.begin_id:,}); give the tokenizer that it was trained with"
            )
        if longest is not None and options.context > longest:
            raise ModelError(
                f"{folder}: its model reads {longest:,} tokens, not {options.context:,}; lower --context"
            )
        model._keeps_logits = "logits_to_keep" in inspect.signature(network.forward).parameters
        return model

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def parameter_count(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())

    def initial_state(self, batch_size: int, *, start: bool = True) -> State:
        ids = torch.full((batch_size, self.options.context), self.options.begin_id, device=self.device)
        return ids, torch.full((batch_size, 1), int(start), device=self.device)

    def next_log_probs(self, state: State) -> Tensor:
        windows = [
            Window(row, 0, 1, history if len(history) else np.array([self.options.begin_id]))
            for row, history in enumerate(_histories(state))
        ]
        rows = torch.zeros(len(windows), self.vocabulary.size, device=self.device)
        for window, scores in self._read(windows):
            rows[window.row] = scores[0]
        return rows

    def advance(self, ids: Tensor, state: State) -> State:
        tokens, lengths = _parts(state)
        full = lengths == self.options.context
        dropped = self.options.context - kept(self.options.context)
        tokens = torch.where(full, tokens.roll(-dropped, 1), tokens)
        lengths = torch.where(full, kept(self.options.context), lengths)
        return tokens.scatter(1, lengths, ids[:, None]), lengths + 1

    def log_probs(self, ids: Tensor, state: State, *, reset: Tensor | None = None) -> tuple[Tensor, State]:
        windows, after = self._cut(ids, state, reset)
        found = torch.zeros(ids.shape, device=self.device)
        for window, rows in self._read(windows):
            times = slice(window.first, window.first + window.count)
            found[window.row, times] = rows.gather(1, ids[window.row, times, None])[:, 0]
        return found, after

    def scan(
        self, ids: Tensor, state: State, *, reset: Tensor | None = None
    ) -> Iterator[tuple[Tensor, State]]:
        steps = max(1, MOST_SCORES // max(1, len(ids) * self.vocabulary.size))
        for first in range(0, ids.shape[1], steps):
            some = ids[:, first : first + steps]
            windows, state = self._cut(
                some, state, None if reset is None else reset[:, first : first + steps]
            )
            found = torch.zeros(*some.shape, self.vocabulary.size, device=self.device)
            for window, rows in self._read(windows):
                found[window.row, window.first : window.first + window.count] = rows
            yield found, state

    def _cut(self, ids: Tensor, state: State, reset: Tensor | None) -> tuple[list[Window], State]:
        windows, after = cut(
            ids.cpu().numpy(), _histories(state), None if reset is None else reset.cpu().numpy(),
            self.options.begin_id, self.options.context,
        )  # fmt: skip
        return windows, self._state(after)

    def _state(self, histories: Sequence[np.ndarray]) -> State:
        tokens = np.full((len(histories), self.options.context), self.options.begin_id, np.int64)
        for row, history in zip(tokens, histories, strict=True):
            row[: len(history)] = history
        lengths = np.array([[len(history)] for history in histories], np.int64).reshape(-1, 1)
        return torch.from_numpy(tokens).to(self.device), torch.from_numpy(lengths).to(self.device)

    def _read(self, windows: list[Window]) -> Iterator[tuple[Window, Tensor]]:
        """(count, vocabulary) log-probabilities of each window, some windows at once."""
        waiting = sorted(windows, key=lambda window: -len(window.inputs))
        while waiting:
            longest = len(waiting[0].inputs)
            together = max(1, MOST_SCORES // (longest * self.network.config.vocab_size))
            group, waiting = waiting[:together], waiting[together:]
            inputs = np.zeros(
                (len(group), longest), np.int64
            )  # a causal model does not see the padding before it
            for row, window in zip(inputs, group, strict=True):
                row[: len(window.inputs)] = window.inputs
            first = min(len(window.inputs) - window.count for window in group)
            keep = {"logits_to_keep": longest - first} if self._keeps_logits else {}
            logits = self.network(
                input_ids=torch.from_numpy(inputs).to(self.device), use_cache=False, **keep
            ).logits
            skipped = longest - logits.shape[1]
            for row, window in zip(logits, group, strict=True):
                end = len(window.inputs) - skipped
                yield window, row[end - window.count : end, : self.vocabulary.size].float().log_softmax(-1)

    def save(self, directory: Path) -> None:
        """Copy the files that the model was loaded from."""
        copy_model(self.folder, directory)

    @classmethod
    def load(cls, directory: Path, options: TransformersOptions, vocabulary: Vocabulary) -> Self:
        return cls.around(load_model(directory), directory, options, vocabulary)


def longest_context(config: Any) -> int | None:
    """The number of positions of a network, if it is limited."""
    longest = getattr(config, "max_position_embeddings", None)
    return longest if isinstance(longest, int) and longest > 0 else None


def _parts(state: State) -> tuple[Tensor, Tensor]:
    tokens, lengths = state
    assert isinstance(tokens, Tensor)
    assert isinstance(lengths, Tensor)
    return tokens, lengths


def _histories(state: State) -> list[np.ndarray]:
    """The tokens that each row's next is predicted from, the latest last."""
    tokens, lengths = (part.cpu().numpy() for part in _parts(state))
    return [row[:length] for row, length in zip(tokens, lengths[:, 0], strict=True)]
