"""The contract of a tokenizer: text to ids and back, and the bits that ids drop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from lmkit.errors import PluginError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

UNITS = ("word", "piece", "char", "byte", "token")
"""The possible units of tokens: `Tokenizer.unit`."""


@dataclass(frozen=True)
class Vocabulary:
    """The ids of a model; `<s>` and padding are not in it.

    size: ids are 0 .. size - 1. eos_id: the id of `</s>`, which ends every line and is scored.
    unk_id: the id of unknown tokens, or None; it has no spelling.
    fingerprint: equal only for vocabularies that give every text the same ids.
    """

    size: int
    eos_id: int
    unk_id: int | None
    fingerprint: str


@dataclass(frozen=True)
class Encoding:
    """A line as ids (int32, without `</s>`), and the place of each.

    spans: (tokens, 2) int64, the characters [start, end) of the raw line of each token.
    """

    ids: np.ndarray
    spans: np.ndarray

    def tokens_of(self, start: int, end: int) -> tuple[int, int]:
        """The tokens [first, last) that contain any of the characters [start, end)."""
        inside = np.flatnonzero((self.spans[:, 0] < end) & (self.spans[:, 1] > start))
        return (int(inside[0]), int(inside[-1]) + 1) if len(inside) else (0, 0)


class Tokenizer(ABC):
    """Text to ids and back. Lines have no line ends; the caller adds `</s>`."""

    vocabulary: Vocabulary
    lossless: ClassVar[bool] = False
    """Whether `decode(encode(line).ids) == line` for every line."""
    exact: ClassVar[bool] = False
    """Whether ids and residual bits together restore every line.

    If False, a scored line that `decode` does not restore is escaped: all its bytes are coded. True is a claim,
    which scoring tests: `lmkit.scoring.claims`.
    """
    unit: ClassVar[str] = "token"
    """One of `UNITS`: a word between white space, a piece of a word, a character or a byte, including white space.

    "token" promises nothing: the words of a text are then unknown, and `surprisal --by word` treats each token as
    one.
    """
    novelty: float | None = 0.0
    """The probability, fixed by `fit`, of a new token that no model has learned, for bits per byte.

    It is more than 0 if training text has no unknown tokens, or too few: `lmkit.residual.new_word_rate`. None:
    unknown, since no text was seen (`from_symbols`). It counts as 0, and the signature of scores shows it.
    """

    @classmethod
    @abstractmethod
    def fit(cls, lines: Iterable[str], options: Any) -> Self:
        """Create a tokenizer from training text.

        lines: an iterable, to read only once. Training gives a `lmkit.corpus.readers.TextLines`, whose `blocks()`
        are the same lines as bytes, for tokenizers that count those faster.
        """

    @abstractmethod
    def encode(self, line: str) -> Encoding:
        """The ids of a line, without `</s>`, and the characters of the raw line of each.

        Spans are in ascending order; tokens of the same character, such as its bytes, share its span. White space of
        a token may be in its span or between spans. Any line of text is accepted, even the empty one.
        """

    @abstractmethod
    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; `</s>` gives "", the unknown id gives U+FFFD.

        The text of the first ids is a prefix of the text of all, except for U+FFFD at its end, for streaming.
        """

    @abstractmethod
    def residual_bits(self, line: str, ids: np.ndarray) -> float:
        """The bits that restore the raw line from its ids, in a code that is fitted with the tokenizer."""

    def spelling_bits(self, line: str, ids: np.ndarray) -> np.ndarray:
        """(unknown tokens,) the part of `residual_bits` that spells each; by default all of it, in equal parts."""
        unknown = int((ids == self.vocabulary.unk_id).sum()) if self.vocabulary.unk_id is not None else 0
        return np.full(unknown, self.residual_bits(line, ids) / max(unknown, 1))

    @abstractmethod
    def save(self, directory: Path) -> None:
        """Write everything that `load` needs into an existing, empty directory; no pickle."""

    @classmethod
    @abstractmethod
    def load(cls, directory: Path, options: Any) -> Self:
        """Load the files of `save`; ModelError if they are damaged."""

    def ids(self, line: str) -> np.ndarray:
        """Only the ids (int32), for fast reading of a corpus."""
        return self.encode(line).ids

    def block_ids(self, raw: bytes) -> tuple[np.ndarray, np.ndarray]:
        """The ids of many lines at once, for fast reading of a large text.

        raw: the lines in UTF-8, without line ends, joined by "\\n"; without NUL.
        Returns their ids (int32) with `</s>` after each line, and the end of each line in them ((lines,) int64).
        """
        eos = np.array([self.vocabulary.eos_id], np.int32)
        rows = [part for line in raw.decode().split("\n") for part in (self.ids(line), eos)]
        return np.concatenate(rows), np.cumsum([len(row) for row in rows], dtype=np.int64)[1::2]

    def block_residual(self, raw: bytes, ids: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """(lines, 2) float64 of many lines at once: the `residual_bits` of each, and their part that spells unknowns.

        raw: as for `block_ids`, which gave ids and ends.
        """
        lines = zip(raw.decode().split("\n"), np.split(ids, ends[:-1]), strict=True)
        pairs = [(line, row[:-1]) for line, row in lines]
        return np.array(
            [(self.residual_bits(line, row), self.spelling_bits(line, row).sum()) for line, row in pairs],
            np.float64,
        )

    def symbols(self) -> list[bytes]:
        """A spelling of each id for files of n-grams: UTF-8 without white space (KenLM's) and NUL.

        `</s>` and the unknown id are b"</s>" and b"<unk>"; all others are distinct, but may be spelled as those
        two or as b"<s>". PluginError if the tokenizer has none.
        """
        raise PluginError(
            f"the tokenizer {type(self).__module__}:{type(self).__qualname__} has no spellings of its ids, which "
            "files of n-grams need; use another, or ask its author to add symbols()"
        )

    @classmethod
    def from_symbols(cls, symbols: Sequence[bytes], options: Any) -> Self:
        """A tokenizer with these `symbols`, for files of n-grams; ids may differ from their order.

        symbols: all different, without those of `</s>` and the unknown id. Raises ModelError if they are not
        spellings of this tokenizer's ids, UsageError if spellings are not enough to create one.
        """
        raise UsageError(
            f"the tokenizer {cls.__module__}:{cls.__qualname__} cannot be created from the words of a file: give "
            "--tokenizer word to treat them as words"
        )

    @classmethod
    def from_file(cls, file: Path, options: Any) -> Self:
        """A tokenizer from a file of another program, for models that are imported without their text.

        It needs an option `file`, for which NAME:FILE is a short form. Raises UsageError if other programs have no
        files of this tokenizer, ModelError for a damaged one.
        """
        raise UsageError(
            f"the tokenizer {cls.__module__}:{cls.__qualname__} cannot be read from a file; leave out ':{file}'"
        )

    def extended(self, lines: Iterable[str], options: Any, most: int) -> Self:
        """This tokenizer with new tokens: at most `most` of those that it lacks, the most frequent in a text first.

        Old tokens keep their ids, and new ids follow them. options: with which it was fitted. UsageError if it has no
        unknown tokens, or cannot get new ones.
        """
        raise UsageError(
            f"the tokenizer {type(self).__module__}:{type(self).__qualname__} cannot get new words; leave --new-words "
            "out (pieces and bytes spell any word)"
        )

    def word_starts(self) -> Tensor | None:
        """(size,) bool: the pieces that begin a word; None if every token is a separate word."""
        return None
