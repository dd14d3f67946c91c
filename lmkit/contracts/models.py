"""The contracts of models, a causal LanguageModel or a bidirectional Encoder, and their arguments in training."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

import numpy as np

from lmkit import states
from lmkit.contracts.tokenizer import Encoding, Tokenizer, Vocabulary
from lmkit.errors import ModelError
from lmkit.kinds import is_module
from lmkit.states import State

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from lmkit.corpus.lines import Line
    from lmkit.corpus.store import TokenStore
    from lmkit.scoring.measured_lines import RawLine

T = TypeVar("T")
ModelT = TypeVar("ModelT")

FORWARD = "forward"
"""The direction of a causal model that reads a line from its beginning."""
BACKWARD = "backward"
"""The direction of a causal model that reads a line from its end."""


class Progress(Protocol):
    """Shows the progress of an iteration: a bar on the command line and in notebooks."""

    def __call__(self, items: Iterable[T], *, total: int | None, label: str) -> Iterable[T]: ...


@dataclass(frozen=True)
class FitContext:
    """The context of a counting model's `fit`.

    seed: for any randomness. progress: wraps a long iteration.
    directory: an empty folder on the run's disk for arrays larger than memory, whose files `save` may move away;
    None: everything stays in memory.
    threads: number of processors to use; None: all.
    """

    seed: int
    progress: Progress
    directory: Path | None = None
    threads: int | None = None


class LanguageModel(ABC):
    """A causal model: p(token_t | tokens before t), in natural logarithms.

    Methods never switch gradients off; callers do. Rows of different lengths are padded on the right with any
    valid id: results past a row's end are ignored and that row's state is undefined. Time 0 is legal.
    """

    vocabulary: Vocabulary
    reset_policy: str = "line"
    """The boundary after which the state is reset: "line", "document" or "never". Callers turn it into `reset`."""
    normalized: bool = True
    """False if the scores do not sum to one (stupid backoff): no perplexity is printed for such a model."""
    units: tuple[str, ...] | None = None
    """The units of `surprisal` that it gives probabilities to; None: all that its tokenizer supports."""

    @property
    def device(self) -> torch.device:
        return _cpu()

    @property
    def directions(self) -> dict[str, LanguageModel]:
        """The causal models for scores, by direction: itself."""
        return {FORWARD: self}

    def place(self, device: torch.device) -> Self:
        """Move to a device for inference, not for training; a model without torch weights does nothing."""
        return _placed(self, device)

    def with_parts(self, change: Callable[[LanguageModel], LanguageModel]) -> LanguageModel:
        """The model with each of the models that it consists of changed: by default, the model itself."""
        return change(self)

    @abstractmethod
    def initial_state(self, batch_size: int, *, start: bool = True) -> State:
        """The state at the start of a text; without start, the state with no information."""

    @abstractmethod
    def next_log_probs(self, state: State) -> Tensor:
        """(batch, vocabulary) log-probabilities of the next token; each row's probabilities sum to one."""

    @abstractmethod
    def advance(self, ids: Tensor, state: State) -> State:
        """The state after one more token per row; ids: (batch,)."""

    @abstractmethod
    def save(self, directory: Path) -> None:
        """Write the model into an existing directory; no pickle."""

    @classmethod
    @abstractmethod
    def load(cls, directory: Path, options: Any, vocabulary: Vocabulary) -> Self:
        """Load the files of `save`. Check the sizes in a file before allocating memory, and raise ModelError."""

    @classmethod  # noqa: B027 (by default, there is nothing to check)
    def check_options(cls, options: Any) -> None:
        """Raise UsageError if `fit` cannot work with these options; called before the text is read."""

    def fit(self, corpus: TokenStore, run: FitContext) -> None:
        """Estimate the model from a corpus. Counting models implement this; the trainer trains neural ones."""
        raise NotImplementedError

    def parameter_count(self) -> int:
        """The number of parameters."""
        return 0

    def log_probs(self, ids: Tensor, state: State, *, reset: Tensor | None = None) -> tuple[Tensor, State]:
        """(batch, time) log-probability of each of `ids` (batch, time), and the state after them.

        reset: (batch, time) bool; `reset[b, t]` puts row b at `initial_state(start=True)` before token t.
        """
        import torch

        steps = []
        for t in range(ids.shape[1]):
            state = self._reset(state, reset, t)
            steps.append(self.next_log_probs(state).gather(1, ids[:, t : t + 1]))
            state = self.advance(ids[:, t], state)
        return (torch.cat(steps, 1) if steps else torch.zeros(ids.shape, device=self.device)), state

    def scan(
        self, ids: Tensor, state: State, *, reset: Tensor | None = None
    ) -> Iterator[tuple[Tensor, State]]:
        """Whole distributions: (batch, chunk, vocabulary) log-probabilities for one chunk of time after another.

        Row [b, t] is the distribution from which ids[b, t] was drawn. The chunks together cover `ids`.
        """
        for t in range(ids.shape[1]):
            state = self._reset(state, reset, t)
            rows = self.next_log_probs(state)[:, None]
            state = self.advance(ids[:, t], state)
            yield rows, state

    def key(self, state: State) -> Tensor | None:
        """(batch, width) features from which the next token is predicted, for a continuous cache; None by default.

        A model with features overrides this, `keyed_log_probs` and `keyed_scan`.
        """
        return None

    def keyed_log_probs(
        self, ids: Tensor, state: State, *, reset: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None, State]:
        """As `log_probs`, with the (batch, time, width) features from which each of `ids` is predicted, or None."""
        scores, state = self.log_probs(ids, state, reset=reset)
        return scores, None, state

    def keyed_scan(
        self, ids: Tensor, state: State, *, reset: Tensor | None = None
    ) -> Iterator[tuple[Tensor, Tensor | None, State]]:
        """As `scan`, with the (batch, chunk, width) features of each row, or None."""
        for rows, after in self.scan(ids, state, reset=reset):
            yield rows, None, after

    def line_log_probs(self, ids: np.ndarray) -> np.ndarray | None:
        """(tokens,) float64 log-probabilities of whole lines, each scored by itself; None by default.

        ids: (tokens,), concatenated lines, each with `</s>`. A model that is reset at every line and scores many
        lines faster than a batch of rows overrides this.
        """
        return None

    def text_log_probs(
        self, text: Iterable[Line], *, batch_size: int, window: int, independent: bool
    ) -> Iterator[tuple[RawLine, np.ndarray]] | None:
        """Each line of a text and the (tokens + 1,) float64 log-probabilities of it and its `</s>`; None by default.

        A model of units larger than tokens (`units`), which has no distribution over the next token, overrides this:
        the first token of a unit has the unit's log-probability, its other tokens zeros. Lines are those of
        `lmkit.scoring.measured_lines.raw_lines`; in a piece of a very long line that does not end there, `</s>` has
        zero. The other arguments are those of `lmkit.scoring.stream.measure_lines`.
        """
        return None

    def top_k(self, state: State, k: int) -> tuple[Tensor, Tensor]:
        """The k most probable next tokens of each row, the best first: (batch, k) log-probabilities and ids."""
        rows = self.next_log_probs(state)
        log_probs, ids = rows.topk(min(k, rows.shape[1]))
        return log_probs, ids

    def count(self, ids: Sequence[int]) -> int:
        """The count of consecutive tokens in the training text.

        `<s>`, which is vocabulary.size here, may come first, and `</s>` last; without tokens, the number of tokens.
        Raises ModelError if the model has no counts.
        """
        raise ModelError(
            "this model has no counts of its training text: train an n-gram model, --model ngram"
        )

    def _reset(self, state: State, reset: Tensor | None, t: int) -> State:
        if reset is None or not bool(reset[:, t].any()):
            return state
        return states.where(reset[:, t], self.initial_state(len(reset)), state)


class Encoder(ABC):
    """A model that sees both sides: vectors for tokens, never a causal score."""

    vocabulary: Vocabulary
    tokenizer: Tokenizer

    @property
    def device(self) -> torch.device:
        return _cpu()

    @property
    def directions(self) -> dict[str, LanguageModel]:
        """The causal models for training and scores, by direction; empty by default.

        An encoder of two such models has them as "forward" and "backward", over the same vocabulary; the second reads
        the ids of a line from its end, then `</s>`. ModelError if it was trained without scores.
        """
        return {}

    def place(self, device: torch.device) -> Self:
        """Move to a device for inference, not for training; a model without torch weights does nothing."""
        return _placed(self, device)

    @property
    @abstractmethod
    def num_layers(self) -> int:
        """The number of vectors per token, including the one without context."""

    @property
    @abstractmethod
    def width(self) -> int:
        """The number of features of each vector."""

    def use_tokenizer(self, tokenizer: Tokenizer) -> None:
        """Set the tokenizer of the run, which splits strings and spells ids; called once."""
        self.tokenizer = tokenizer

    @abstractmethod
    def embed(self, sentences: Sequence[str] | Sequence[Sequence[str]]) -> list[Tensor]:
        """Per sentence (layers, tokens, features): one vector per token of a string, or per word of a list of words.

        A sentence's vectors depend on the others only by rounding; one without tokens gives (layers, 0, features).
        Gradients are not switched off; callers do.
        """

    def embed_encoded(self, sentences: Sequence[str], encodings: Sequence[Encoding]) -> list[Tensor]:
        """The same as `embed` for strings already encoded by the run's tokenizer.

        Override it to avoid encoding each string again.
        """
        return self.embed(sentences)

    @abstractmethod
    def save(self, directory: Path) -> None:
        """Write the model into an existing directory; no pickle."""

    @classmethod
    @abstractmethod
    def load(cls, directory: Path, options: Any, vocabulary: Vocabulary) -> Self:
        """Load the files of `save`. Check the sizes in a file before allocating memory, and raise ModelError."""

    def parameter_count(self) -> int:
        """The number of parameters."""
        return 0


def _cpu() -> torch.device:
    import torch

    return torch.device("cpu")


def _placed(model: ModelT, device: torch.device) -> ModelT:
    if is_module(model):
        model.to(device)
        model.eval()
    return model
