"""Unicode characters as tokens."""

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from lmkit.contracts import Encoding, Tokenizer, Vocabulary
from lmkit.errors import ModelError
from lmkit.residual import new_word_rate
from lmkit_tokenizers import tokenizer_files as files
from lmkit_tokenizers.options import CharOptions
from lmkit_tokenizers.symbols import spelled, unspelled
from lmkit_tokenizers.text import CHUNK, code_points

EOS, UNK = 0, 1
FIRST = 2
"""The id of the most frequent character."""

CODE_POINTS = 0x110000
CHARACTERS = CODE_POINTS - 2048
"""Unicode's scalar values, 1,112,064: code points without surrogates."""

REPLACEMENT = 0xFFFD


class CharTokenizer(Tokenizer):
    """Ids: 0 is `</s>`, 1 the unknown character, then characters by descending count, ties by code point.

    `lossless` is False: an unknown character is decoded as U+FFFD, and `residual_bits` includes its identity.
    `word_starts` is None, since no character always begins a word: the white space before it decides, which belongs
    to the previous word. Spans are single characters.
    """

    exact: ClassVar[bool] = True
    unit: ClassVar[str] = "char"

    def __init__(self, characters: np.ndarray, novelty: float | None = 0.0) -> None:
        """characters: (known,) distinct code points in the order of their ids."""
        self.novelty = novelty
        self._codes = np.concatenate([[REPLACEMENT, REPLACEMENT], characters]).astype("<u4")
        # 4 MB, so that a line of any script is one gather.
        self._ids = np.full(CODE_POINTS, UNK, np.int32)
        self._ids[characters] = np.arange(FIRST, FIRST + len(characters), dtype=np.int32)
        self._unknown_bits = math.log2(max(CHARACTERS - len(characters), 1))
        print_ = files.fingerprint("char", [self._codes.tobytes()])
        self.vocabulary = Vocabulary(len(characters) + FIRST, EOS, UNK, print_)

    @classmethod
    def fit(cls, lines: Iterable[str], options: CharOptions) -> Self:
        lines = _Counted(lines)
        counts = _count(lines)
        # A stable sort keeps ties in order of code points.
        ranked = np.argsort(-counts, kind="stable")
        kept = int((counts >= options.min_count).sum())
        if options.vocab_size is not None:
            kept = min(kept, options.vocab_size - FIRST)
        unknown = int(counts[ranked[kept:]].sum())
        tokens = int(counts.sum()) + lines.number
        return cls(ranked[:kept], new_word_rate(int((counts == 1).sum()), unknown, tokens))

    def extended(self, lines: Iterable[str], options: CharOptions, most: int) -> Self:
        """The rate of new characters is unchanged."""
        counts = _count(lines)
        known = self._codes[FIRST:].astype(np.int64)
        counts[known] = 0
        ranked = np.argsort(-counts, kind="stable")[:most]
        new = ranked[counts[ranked] >= options.min_count]
        return type(self)(np.concatenate([known, new]), self.novelty)

    def ids(self, line: str) -> np.ndarray:
        if len(line) <= CHUNK:
            return self._ids[code_points(line)]
        return np.concatenate([self._ids[code_points(part)] for part in _slices(line)])

    def block_ids(self, raw: bytes) -> tuple[np.ndarray, np.ndarray]:
        codes = code_points(raw.decode() + "\n")
        line_feeds = np.flatnonzero(codes == ord("\n"))
        ids = self._ids[codes]
        ids[line_feeds] = EOS
        return ids, line_feeds + 1

    def block_residual(self, raw: bytes, ids: np.ndarray, ends: np.ndarray) -> np.ndarray:
        unknown = np.searchsorted(ends, np.flatnonzero(ids == UNK), side="right")
        bits = np.bincount(unknown, minlength=len(ends)) * self._unknown_bits
        return np.stack([bits, bits], 1)

    def encode(self, line: str) -> Encoding:
        starts = np.arange(len(line), dtype=np.int64)
        return Encoding(self.ids(line), np.stack([starts, starts + 1], 1))

    def decode(self, ids: Sequence[int]) -> str:
        numbers = np.asarray(ids, np.int64)
        return self._codes[numbers[numbers != EOS]].tobytes().decode("utf-32-le")

    def residual_bits(self, line: str, ids: np.ndarray) -> float:
        """log2(1,112,064 - known characters) for each unknown one."""
        return int((ids == UNK).sum()) * self._unknown_bits

    def spelling_bits(self, line: str, ids: np.ndarray) -> np.ndarray:
        return np.full(int((ids == UNK).sum()), self._unknown_bits)

    def symbols(self) -> list[bytes]:
        """The characters; white space as in `symbols.spelled`."""
        characters = self._codes[FIRST:].tobytes().decode("utf-32-le")
        return [b"</s>", b"<unk>", *spelled(c.encode() for c in characters)]

    @classmethod
    def from_symbols(cls, symbols: Sequence[bytes], options: CharOptions) -> Self:
        characters = unspelled(symbols)
        wrong = next((character for character in characters if len(character) != 1), None)
        if wrong is not None:
            raise ModelError(f"its word {wrong!r} is not one character; give --tokenizer word")
        return cls(code_points("".join(characters)), None)

    def save(self, directory: Path) -> None:
        characters = self._codes[FIRST:].tobytes().decode("utf-32-le")
        (directory / "characters.txt").write_bytes(characters.encode())
        files.write_header(directory, "char", self.vocabulary, novelty=self.novelty)

    @classmethod
    def load(cls, directory: Path, options: CharOptions) -> Self:
        header = files.read_header(directory, "char")
        path = directory / "characters.txt"
        try:
            characters = code_points(files.read_bytes(path, 4 * CHARACTERS).decode())
        except UnicodeDecodeError as error:
            raise files.damaged(path, f"byte {error.start} is not UTF-8") from error
        if len(np.unique(characters)) != len(characters):
            raise files.damaged(path, "a character occurs twice")
        novelty = header.get("novelty", 0.0)
        if novelty is not None and (type(novelty) not in (int, float) or not 0 <= novelty < 1):
            raise files.damaged(directory / files.HEADER, "its novelty is not a number from 0 to 1")
        tokenizer = cls(characters, novelty)
        files.check_header(directory, header, tokenizer.vocabulary)
        return tokenizer


def _count(lines: Iterable[str]) -> np.ndarray:
    """(CODE_POINTS,) int64: the count of each character."""
    counts = np.zeros(CODE_POINTS, np.int64)
    for text in _batches(lines):
        counts += np.bincount(code_points(text), minlength=CODE_POINTS)
    return counts


class _Counted:
    """Lines, and their number."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = lines
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            self.number += 1
            yield line


def _slices(text: str) -> Iterator[str]:
    return (text[first : first + CHUNK] for first in range(0, len(text), CHUNK))


def _batches(lines: Iterable[str]) -> Iterator[str]:
    """The text in strings of about CHUNK characters, for counting over all of Unicode."""
    waiting: list[str] = []
    size = 0
    for line in lines:
        for part in _slices(line):
            waiting.append(part)
            size += len(part)
            if size >= CHUNK:
                yield "".join(waiting)
                waiting, size = [], 0
    yield "".join(waiting)
