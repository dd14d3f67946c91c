"""The bytes of UTF-8 as tokens."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from lmkit.contracts import Encoding, Tokenizer, Vocabulary
from lmkit.errors import ModelError
from lmkit.specs import NoOptions
from lmkit_tokenizers import tokenizer_files as files
from lmkit_tokenizers.symbols import byte_symbol, spelled
from lmkit_tokenizers.text import code_points, encoded

EOS = 256


class ByteTokenizer(Tokenizer):
    """Ids: the value of each byte, and 256 for `</s>`; no byte is unknown and nothing is dropped.

    All bytes of a character have that character's span. `word_starts` is None, since no byte always begins a word:
    the white space before it decides, which belongs to the previous word.
    """

    lossless: ClassVar[bool] = True
    exact: ClassVar[bool] = True
    unit: ClassVar[str] = "byte"

    def __init__(self) -> None:
        self.vocabulary = Vocabulary(EOS + 1, EOS, None, files.fingerprint("byte", []))

    @classmethod
    def fit(cls, lines: Iterable[str], options: NoOptions) -> Self:
        """Learn nothing, without reading the lines."""
        return cls()

    def ids(self, line: str) -> np.ndarray:
        return np.frombuffer(encoded(line), np.uint8).astype(np.int32)

    def block_ids(self, raw: bytes) -> tuple[np.ndarray, np.ndarray]:
        ids = np.frombuffer(raw + b"\n", np.uint8).astype(np.int32)
        line_feeds = np.flatnonzero(ids == ord("\n"))
        ids[line_feeds] = EOS
        return ids, line_feeds + 1

    def block_residual(self, raw: bytes, ids: np.ndarray, ends: np.ndarray) -> np.ndarray:
        return np.zeros((len(ends), 2))

    def encode(self, line: str) -> Encoding:
        codes = code_points(line)
        lengths = 1 + (codes >= 0x80) + (codes >= 0x800) + (codes >= 0x10000)
        starts = np.repeat(np.arange(len(line), dtype=np.int64), lengths)
        return Encoding(self.ids(line), np.stack([starts, starts + 1], 1))

    def decode(self, ids: Sequence[int]) -> str:
        """Bytes that are not UTF-8 become U+FFFD."""
        numbers = np.asarray(ids, np.int64)
        return numbers[numbers != EOS].astype(np.uint8).tobytes().decode(errors="replace")

    def residual_bits(self, line: str, ids: np.ndarray) -> float:
        """Zero: the ids contain the whole line."""
        return 0.0

    def symbols(self) -> list[bytes]:
        """ASCII unchanged, other bytes and white space as `<0xE4>`, a space as U+2581."""
        return [*spelled(bytes([b]) if b < 0x80 else byte_symbol(b) for b in range(256)), b"</s>"]

    @classmethod
    def from_symbols(cls, symbols: Sequence[bytes], options: NoOptions) -> Self:
        tokenizer = cls()
        if strange := set(symbols) - set(tokenizer.symbols()):
            raise ModelError(f"its word {min(strange).decode()!r} is not a byte; give --tokenizer word")
        return tokenizer

    def save(self, directory: Path) -> None:
        files.write_header(directory, "byte", self.vocabulary)

    @classmethod
    def load(cls, directory: Path, options: NoOptions) -> Self:
        tokenizer = cls()
        files.check_header(directory, files.read_header(directory, "byte"), tokenizer.vocabulary)
        return tokenizer
