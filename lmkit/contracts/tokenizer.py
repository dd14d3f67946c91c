"""What a tokenizer must be: text to ids and back, and what its ids drop."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from torch import Tensor

from lmkit.errors import PluginError, UsageError

UNITS = ("word", "piece", "char", "byte", "token")
"""What a token may be of a text: `Tokenizer.unit`."""


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
