"""Split words that the vocabulary lacks: `good.` into `good` and `.`, 天气很好 into words."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Self

import numpy as np

from lmkit.contracts import Encoding, Tokenizer
from lmkit.corpus.line_blocks import line_sizes
from lmkit.corpus.words import count_words
from lmkit.corpus.writing_systems import ScriptCounter
from lmkit.errors import PluginError
from lmkit.scoring.segmentation import CJK, ids_of, is_known, pieces

if TYPE_CHECKING:
    from torch import Tensor

RULES = ("auto", "always", "never")
"""auto: in ordinary running text; always: in every line; never: an unknown word stays one token."""

SPLIT_FLAG_BITS = 16
"""Bits for the flag that a line was split; for other lines, -log2(1 - 2^-16)."""
_UNSPLIT_BITS = -math.log2(1 - 2**-SPLIT_FLAG_BITS)
_UNSPLIT = np.array([_UNSPLIT_BITS, 0.0])
"""The same in `block_residual`: no spelling is longer."""
_NOWHERE = np.zeros(0, np.int64)

LONGEST_KEPT = 100
"""Characters of the longest word whose pieces are kept for its next occurrence."""
ATTACHED_LIMIT = 0.05
"""If a larger share of words in a vocabulary ends in a mark, marks were attached: raw novels have 0.3."""
SAMPLE = 20_000
"""Number of words of the vocabulary to check."""

_NEVER_APART = frozenset(",.，。；：！？、।॥،۔።")
"""Marks that ordinary text never has with white space on both sides."""
_MARKS = frozenset(";:!?…؟؛") | _NEVER_APART
"""The same, and marks that follow a space in French and other languages."""
_CLOSING = "\"'”’)]」』）》"
_CJK = re.compile(f"[{CJK}]")


def read_as_typed(tokenizer: Tokenizer, rule: str = "auto") -> Tokenizer:
    """The tokenizer under a rule of `RULES`; itself if it does not read words, or with "never"."""
    if rule == "never" or tokenizer.unit != "word":
        return tokenizer
    return SplitWords(tokenizer, rule)


class SplitWords(Tokenizer):
    """A tokenizer of words between white space that splits words that its vocabulary lacks.

    A word is never split between two letters of a script with spaces. The rule "auto" splits only lines of ordinary
    running text: a punctuation mark that the training text separates is attached to a word and no comma or full
    stop has spaces on both sides, or Chinese, Japanese or Korean has no spaces between its words. Ids of a text
    without unknown words do not change. A tokenizer's `unk_word` is never split.
    """

    def __init__(self, tokenizer: Tokenizer, rule: str = "auto") -> None:
        self.whole = tokenizer
        """The wrapped tokenizer, which does not split."""
        self.rule = rule
        self.vocabulary = tokenizer.vocabulary
        self.unit = tokenizer.unit  # pyright: ignore[reportAttributeAccessIssue]
        self.lossless = tokenizer.lossless  # pyright: ignore[reportAttributeAccessIssue]
        self.exact = tokenizer.exact  # pyright: ignore[reportAttributeAccessIssue]
        self.novelty = tokenizer.novelty
        self._pieces: dict[str, list[str]] = {}

    @classmethod
    def fit(cls, lines: Iterable[str], options: Any) -> NoReturn:
        raise TypeError("SplitWords wraps a fitted tokenizer and cannot be fitted")

    @classmethod
    def load(cls, directory: Path, options: Any) -> Self:
        raise TypeError("SplitWords wraps a loaded tokenizer and cannot be loaded")

    def save(self, directory: Path) -> None:
        self.whole.save(directory)

    def decode(self, ids: Sequence[int]) -> str:
        return self.whole.decode(ids)

    def symbols(self) -> list[bytes]:
        return self.whole.symbols()

    def word_starts(self) -> Tensor | None:
        return self.whole.word_starts()

    def encode(self, line: str) -> Encoding:
        """Ids, and the characters of the raw line of each, also for pieces of a word."""
        encoding = self.whole.encode(line)
        unknown = self._to_split(line, encoding.ids)
        if not len(unknown):
            return encoding
        ids, spans, done = [], [], 0
        for place in unknown.tolist():
            start, end = encoding.spans[place].tolist()
            ids.append(encoding.ids[done:place])
            spans.append(encoding.spans[done:place])
            found = self._split(line[start:end])
            ids.append(ids_of(self.whole, found))
            ends = start + np.cumsum([len(piece) for piece in found], dtype=np.int64)
            spans.append(np.stack([np.append(start, ends[:-1]), ends], 1))
            done = place + 1
        ids.append(encoding.ids[done:])
        spans.append(encoding.spans[done:])
        return Encoding(np.concatenate(ids), np.concatenate(spans))

    def ids(self, line: str) -> np.ndarray:
        ids = self.whole.ids(line)
        return self.encode(line).ids if len(self._to_split(line, ids)) else ids

    def block_ids(self, raw: bytes) -> tuple[np.ndarray, np.ndarray]:
        ids, ends = self.whole.block_ids(raw)
        is_unknown = ids == self.vocabulary.unk_id
        if not np.count_nonzero(is_unknown):
            return ids, ends
        unknown = np.flatnonzero(is_unknown)
        lines = raw.split(b"\n")
        numbers = np.unique(np.searchsorted(ends, unknown, side="right")).tolist()
        split = {number: line for number in numbers if self._is_split(line := lines[number].decode())}
        if not split:
            return ids, ends
        rows = np.split(ids, ends[:-1])
        eos = rows[0][-1:]
        for number, line in split.items():
            rows[number] = np.append(self.encode(line).ids, eos)
        return np.concatenate(rows), np.cumsum([len(row) for row in rows], dtype=np.int64)

    def residual_bits(self, line: str, ids: np.ndarray) -> float:
        """The bits of the tokenizer's code for the line as it was read, and of the places where it was split.

        A split line costs a flag, the number of its n gaps that are splits (1 to n), and which of them are.
        """
        # Counting words is much faster than looking them up.
        words = count_words(line.encode("utf-8", "surrogatepass"))
        joined = 0 if len(ids) == words else len(ids) - len(self.whole.ids(line))
        if not joined:
            return self.whole.residual_bits(line, ids) + _UNSPLIT_BITS
        gaps = len(ids) - 1
        which = math.lgamma(gaps + 1) - math.lgamma(joined + 1) - math.lgamma(gaps - joined + 1)
        read = self._with_spaces(line)
        bits = SPLIT_FLAG_BITS + math.log2(gaps) + which / math.log(2)
        return self.whole.residual_bits(read, ids) + bits

    def block_residual(self, raw: bytes, ids: np.ndarray, ends: np.ndarray) -> np.ndarray:
        split = np.diff(ends, prepend=0) - 1 != line_sizes(raw)[1]
        if not split.any():
            return self.whole.block_residual(raw, ids, ends) + _UNSPLIT
        lines, rows = raw.split(b"\n"), np.split(ids, ends[:-1])
        table = np.empty((len(ends), 2))
        for chosen, residual in (
            (np.flatnonzero(split), super().block_residual),
            (np.flatnonzero(~split), lambda *block: self.whole.block_residual(*block) + _UNSPLIT),
        ):
            some = [rows[i] for i in chosen]
            if some:
                block = b"\n".join(lines[i] for i in chosen)
                table[chosen] = residual(block, np.concatenate(some), np.cumsum([len(row) for row in some]))
        return table

    def spelling_bits(self, line: str, ids: np.ndarray) -> np.ndarray:
        """The bits of each unknown piece in the tokenizer's code."""
        whole = self.whole.ids(line)
        return self.whole.spelling_bits(line if len(whole) == len(ids) else self._with_spaces(line), ids)

    def is_typed(self, line: str) -> bool:
        """Whether a line is ordinary running text, not text with separated tokens."""
        words = line.split()
        if any(word in _NEVER_APART for word in words):
            return False
        if any(self._attached(word) for word in words):
            return True
        if not _CJK.search(line) or any(word in _MARKS for word in words):
            return False
        scripts = ScriptCounter()
        scripts.add(line)
        return len(words) == 1 or not scripts.is_segmented

    def _is_split(self, line: str) -> bool:
        return self.rule == "always" or self.is_typed(line)

    def _attached(self, word: str) -> bool:
        """Whether a punctuation mark that is a word of the vocabulary ends this longer word."""
        mark = word.rstrip(_CLOSING)[-1:]
        return mark in self._known_marks and len(word) > 1

    @cached_property
    def _known_marks(self) -> frozenset[str]:
        """The punctuation marks that the training text separates: words of a vocabulary with few attached marks."""
        try:
            words = [word.decode("utf-8", "replace") for word in self.whole.symbols()[:SAMPLE]]
        except PluginError:  # a tokenizer that cannot list its words
            words = []
        attached = sum(len(word) > 1 and word[-1] in _MARKS for word in words)
        if attached > ATTACHED_LIMIT * len(words):
            return frozenset()
        return frozenset(mark for mark in _MARKS if is_known(self.whole, mark))

    def _to_split(self, line: str, ids: np.ndarray) -> np.ndarray:
        """The places of the words to split."""
        is_unknown = ids == self.vocabulary.unk_id
        if not np.count_nonzero(is_unknown):
            return _NOWHERE
        unknown = np.flatnonzero(is_unknown)
        return unknown if self._is_split(line) else _NOWHERE

    def _split(self, word: str) -> list[str]:
        found = self._pieces.get(word)
        if found is None:
            if len(self._pieces) > 1 << 16:
                self._pieces.clear()
            # A word that is the tokenizer's `unk_word` stays unsplit.
            is_fixed = word == getattr(self.whole, "unk_word", None)
            found = [word] if is_fixed else pieces(self.whole, word)
            if len(word) <= LONGEST_KEPT:
                self._pieces[word] = found
        return found

    def _with_spaces(self, line: str) -> str:
        """The line with a space at each split; its own white space is kept."""
        spans = self.encode(line).spans
        inner = spans[1:, 0][spans[1:, 0] == spans[:-1, 1]].tolist()
        cuts = [0, *inner, len(line)]
        return " ".join(line[a:b] for a, b in pairwise(cuts))
