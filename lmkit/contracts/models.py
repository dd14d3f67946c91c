"""What a model must be: a causal LanguageModel or an Encoder of both sides, and what training gives it."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from lmkit import states
from lmkit.contracts.tokenizer import Encoding, Tokenizer, Vocabulary
from lmkit.errors import ModelError
from lmkit.states import State

if TYPE_CHECKING:
    from lmkit.corpus.store import TokenStore

T = TypeVar("T")
ModelT = TypeVar("ModelT")

FORWARD = "forward"
"""The direction of a causal model that reads a line from its beginning."""
BACKWARD = "backward"
"""The direction of a causal model that reads a line from its end."""


class Progress(Protocol):
    """Shows how far an iteration is; the command line draws a bar, Python code sees nothing."""

    def __call__(self, items: Iterable[T], *, total: int | None, label: str) -> Iterable[T]: ...


@dataclass(frozen=True)
class FitContext:
    """What a counting model's `fit` may use of the run that it belongs to.

    seed: for anything drawn by chance. progress: wrap a long iteration in it.
    directory: an empty folder on the run's disk, for what is too large for memory, whose files `save` may move
    away; None: everything stays in memory.
    threads: how many processors to use; None: all.
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
    """After which boundary the state starts anew: "line", "document" or "never". Callers turn it into `reset`."""
    normalized: bool = True
    """False where the scores do not sum to one (stupid backoff): no perplexity is printed for such a model."""

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    @property
    def directions(self) -> "dict[str, LanguageModel]":
        """The causal models that this one is scored as, by direction: itself."""
        return {FORWARD: self}

    def place(self, device: torch.device) -> Self:
        """Go to a device, to be read there and not trained; a model without torch's weights stays where it is."""
        return _placed(self, device)

    @abstractmethod
    def initial_state(self, batch_size: int, *, start: bool = True) -> State:
        """start: a text begins here. Not start: nothing is known of what came before."""

    @abstractmethod
    def next_log_probs(self, state: State) -> Tensor:
        """(batch, vocabulary) log-probabilities of the next token; each row's probabilities sum to one."""

    @abstractmethod
    def advance(self, ids: Tensor, state: State) -> State:
        """The state after one more token a row; ids: (batch,)."""

    @abstractmethod
    def save(self, directory: Path) -> None:
        """Write the model into an existing directory; no pickle."""

    @classmethod
    @abstractmethod
    def load(cls, directory: Path, options: Any, vocabulary: Vocabulary) -> Self:
        """What `save` wrote. Nothing is allocated before the sizes in the file are checked: ModelError."""

    def fit(self, corpus: "TokenStore", run: FitContext) -> None:
        """Estimate the model from a corpus. Counting models write this; neural ones are trained by the trainer."""
        raise NotImplementedError

    def parameter_count(self) -> int:
        """How many numbers the model has learned."""
        return 0

    def log_probs(self, ids: Tensor, state: State, *, reset: Tensor | None = None) -> tuple[Tensor, State]:
        """(batch, time) log-probability of each of `ids` (batch, time), and the state after them.

        reset: (batch, time) bool; `reset[b, t]` puts row b at `initial_state(start=True)` before token t.
        """
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

    def line_log_probs(self, ids: np.ndarray) -> np.ndarray | None:
        """(tokens,) float64 log-probabilities of whole lines, each scored by itself, where there is a fast way.

        ids: (tokens,), lines one after another with `</s>` behind each. A model whose state starts anew with
        every line and that scores many lines faster than a batch of rows overrides this; None: it does not.
        """
        return None

    def top_k(self, state: State, k: int) -> tuple[Tensor, Tensor]:
        """The k likeliest next tokens of each row, the best first: (batch, k) log-probabilities and ids."""
        rows = self.next_log_probs(state)
        log_probs, ids = rows.topk(min(k, rows.shape[1]))
        return log_probs, ids

    def count(self, ids: Sequence[int]) -> int:
        """How often the tokens follow one another in the training text.

        `<s>`, which is vocabulary.size here, may come first, and `</s>` last; of no tokens, how many there are.
        Raises ModelError where the model keeps no counts.
        """
        raise ModelError(
            "this model keeps no counts of its training text: train an n-gram model, --model ngram"
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
        return torch.device("cpu")

    @property
    def directions(self) -> dict[str, LanguageModel]:
        """The causal models that it is trained and scored as, by direction; none by default.

        One that is made of two has them as "forward" and "backward": models over the same vocabulary, of which the
        second reads the ids of a line from its end, then `</s>`. ModelError where it was trained without scores.
        """
        return {}

    def place(self, device: torch.device) -> Self:
        """Go to a device, to be read there and not trained; a model without torch's weights stays where it is."""
        return _placed(self, device)

    @property
    @abstractmethod
    def num_layers(self) -> int:
        """How many vectors a token has, the one without context included."""

    @property
    @abstractmethod
    def width(self) -> int:
        """The features of each vector."""

    def use_tokenizer(self, tokenizer: Tokenizer) -> None:
        """Take the tokenizer of the run, which splits strings and knows how ids are spelled; called once."""
        self.tokenizer = tokenizer

    @abstractmethod
    def embed(self, sentences: Sequence[str] | Sequence[Sequence[str]]) -> list[Tensor]:
        """Per sentence (layers, tokens, features): one vector a token of a string, one a word of a list of words.

        A sentence's vectors do not depend on the others beyond rounding; one without tokens has none:
        (layers, 0, features). Gradients are not switched off; callers do.
        """

    def embed_encoded(self, sentences: Sequence[str], encodings: Sequence[Encoding]) -> list[Tensor]:
        """What `embed` gives strings whose encodings by the run's tokenizer are known already.

        An encoder that overrides this saves encoding each string a second time.
        """
        return self.embed(sentences)

    @abstractmethod
    def save(self, directory: Path) -> None:
        """Write the model into an existing directory; no pickle."""

    @classmethod
    @abstractmethod
    def load(cls, directory: Path, options: Any, vocabulary: Vocabulary) -> Self:
        """What `save` wrote. Nothing is allocated before the sizes in the file are checked: ModelError."""

    def parameter_count(self) -> int:
        """How many numbers the model has learned."""
        return 0


def _placed(model: ModelT, device: torch.device) -> ModelT:
    if isinstance(model, torch.nn.Module):
        model.to(device)
        model.eval()
    return model
