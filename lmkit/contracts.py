"""What a plugin's targets must be (Tokenizer, LanguageModel, Encoder, Decoder), and what they are given."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from lmkit import states
from lmkit.errors import ModelError, PluginError, UsageError
from lmkit.states import State

if TYPE_CHECKING:
    from lmkit.corpus.store import TokenStore

__all__ = [
    "Decoder",
    "Encoder",
    "Encoding",
    "FitContext",
    "Hypothesis",
    "LanguageModel",
    "Progress",
    "State",
    "Tokenizer",
    "Vocabulary",
]


T = TypeVar("T")

FORWARD = "forward"
"""The direction of a causal model that reads a line from its beginning."""
BACKWARD = "backward"
"""The direction of a causal model that reads a line from its end."""
UNITS = ("word", "piece", "char", "byte", "token")
"""What a token may be of a text: `Tokenizer.unit`."""


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


@dataclass(frozen=True)
class Vocabulary:
    """What ids mean, as far as a model needs to know: `<s>` and padding are not in it.

    size: ids are 0 .. size - 1. eos_id: the id of `</s>`, which ends every line and is scored.
    unk_id: the id of what is not in the vocabulary, or None; it has no spelling.
    fingerprint: equal only for vocabularies that give every text the same ids.
    """

    size: int
    eos_id: int
    unk_id: int | None
    fingerprint: str


@dataclass(frozen=True)
class Encoding:
    """A line as ids (int32, without `</s>`), and where each came from.

    spans: (tokens, 2) int64, the characters [start, end) of the raw line that each token covers.
    """

    ids: np.ndarray
    spans: np.ndarray


class Tokenizer(ABC):
    """Text to ids and back. A line has no line end in it; `</s>` is added by the caller."""

    vocabulary: Vocabulary
    lossless: ClassVar[bool] = False
    """Whether `decode(encode(line).ids) == line` for every line."""
    exact: ClassVar[bool] = False
    """Whether ids and residual bits together restore every line.

    Where False, a scored line that `decode` does not restore is escaped: it pays for all of its bytes. True is a
    claim, which scoring tests: `lmkit.scoring.claims`.
    """
    unit: ClassVar[str] = "token"
    """One of `UNITS`: a word between white space, a piece of a word, a character or a byte, white space included.

    "token" promises nothing: what words of a text are is then not known, and `surprisal --by word` takes each token
    for one.
    """
    novelty: float | None = 0.0
    """The probability, frozen by `fit`, with which bits per byte expect a token that no model has learned.

    It is more than 0 where training text has no unknown tokens, or too few: `lmkit.residual.new_word_rate`. None:
    not known, since no text was seen (`from_symbols`). It counts as 0, and the signature of scores says so.
    """

    @classmethod
    @abstractmethod
    def fit(cls, lines: Iterable[str], options: Any) -> Self:
        """A tokenizer made from training text.

        lines: can be iterated over once. Training gives a `lmkit.corpus.readers.TextLines`, whose `blocks()`
        are the same lines as bytes, for tokenizers that count those faster.
        """

    @abstractmethod
    def encode(self, line: str) -> Encoding:
        """The ids of a line and the characters of the raw line that each covers, without `</s>`.

        Spans never go backwards; tokens that share a character (its bytes, say) share its span. White space that
        a token swallows may be in its span or between spans. Any line of text is accepted, the empty one too.
        """

    @abstractmethod
    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; `</s>` gives nothing, the unknown id gives U+FFFD.

        The text of the first ids begins the text of all, but for U+FFFD at its end: generation shows it as it grows.
        """

    @abstractmethod
    def residual_bits(self, line: str, ids: np.ndarray) -> float:
        """The bits that restore the raw line from its ids, by a code frozen when the tokenizer was fitted."""

    def spelling_bits(self, line: str, ids: np.ndarray) -> np.ndarray:
        """(unknown tokens,) what of `residual_bits` spells each unknown token; by default all of it, in equal parts."""
        unknown = int((ids == self.vocabulary.unk_id).sum()) if self.vocabulary.unk_id is not None else 0
        return np.full(unknown, self.residual_bits(line, ids) / max(unknown, 1))

    @abstractmethod
    def save(self, directory: Path) -> None:
        """Write everything that `load` needs into an existing, empty directory; no pickle."""

    @classmethod
    @abstractmethod
    def load(cls, directory: Path, options: Any) -> Self:
        """What `save` wrote; ModelError if it is damaged."""

    def ids(self, line: str) -> np.ndarray:
        """The ids alone (int32): the fast way through a corpus."""
        return self.encode(line).ids

    def block_ids(self, raw: bytes) -> tuple[np.ndarray, np.ndarray]:
        """The ids of whole lines at once: the fast way through a large text.

        raw: the lines in UTF-8, without line ends, joined by "\\n"; no NUL is in it.
        Returns their ids (int32) with `</s>` after each line, and where each line ends in them ((lines,) int64).
        """
        eos = np.array([self.vocabulary.eos_id], np.int32)
        rows = [part for line in raw.decode().split("\n") for part in (self.ids(line), eos)]
        return np.concatenate(rows), np.cumsum([len(row) for row in rows], dtype=np.int64)[1::2]

    def symbols(self) -> list[bytes]:
        """A spelling of each id for files of n-grams: UTF-8 without white space (KenLM's) and NUL.

        `</s>` and the unknown id are b"</s>" and b"<unk>"; all others are distinct, but may be spelled as those
        two or as b"<s>". PluginError where the tokenizer has none.
        """
        raise PluginError(
            f"the tokenizer {type(self).__module__}:{type(self).__qualname__} has no spellings for its ids, which "
            "files of n-grams need; use another, or ask its author for symbols()"
        )

    @classmethod
    def from_symbols(cls, symbols: Sequence[bytes], options: Any) -> Self:
        """A tokenizer whose `symbols` are these, for files of n-grams; an id may be another than the place here.

        symbols: all different, without those of `</s>` and the unknown id. Raises ModelError where they are not
        spellings of this tokenizer's ids, UsageError where spellings alone do not make one.
        """
        raise UsageError(
            f"the tokenizer {cls.__module__}:{cls.__qualname__} cannot be made from the words of a file: give "
            "--tokenizer word to take them as words"
        )

    @classmethod
    def from_file(cls, file: Path, options: Any) -> Self:
        """A tokenizer from a file of another program.

        Raises UsageError where other programs have no files of this tokenizer, ModelError for a damaged one.
        """
        raise UsageError(
            f"the tokenizer {cls.__module__}:{cls.__qualname__} is read from no file; leave out ':{file}'"
        )

    def word_starts(self) -> Tensor | None:
        """(size,) bool: the pieces that begin a word; None when every token is a word of its own."""
        return None


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


ModelT = TypeVar("ModelT")


def _placed(model: ModelT, device: torch.device) -> ModelT:
    if isinstance(model, torch.nn.Module):
        model.to(device)
        model.eval()
    return model


@dataclass(frozen=True)
class Hypothesis:
    """A continuation. log_prob is its log-probability under the model, not under a truncated distribution."""

    ids: tuple[int, ...]
    log_prob: float


class Decoder(ABC):
    """A way to choose continuations; it sees a model only through the LanguageModel contract."""

    deterministic: ClassVar[bool] = False
    """Whether equal states always give equal hypotheses, so that several come from one row or not at all."""
    takes_generators: ClassVar[bool] = False
    """Whether `generator` may be a list, one for each of as many equal blocks of rows, which several prompts need
    to be continued at once as each would be alone; else they are continued one after another."""

    def __init__(self, options: Any) -> None:
        self.options = options

    @abstractmethod
    def generate(
        self,
        model: LanguageModel,
        state: State,
        *,
        max_tokens: int,
        stop_ids: frozenset[int] = frozenset(),
        forbid_ids: frozenset[int] = frozenset(),
        generator: torch.Generator | None = None,
        on_token: Callable[[int, int], None] | None = None,
    ) -> list[Hypothesis]:
        """Continue every row of `state` (batch b); the hypotheses of row 0 first, each row's best first.

        A row ends after a token of `stop_ids`, which is the last of its ids, or after `max_tokens`. Tokens of
        `forbid_ids` and the unknown id are never emitted. generator: the only source of chance.
        on_token: called as on_token(row, id) for each token as soon as it is final, where the decoder can.
        """
