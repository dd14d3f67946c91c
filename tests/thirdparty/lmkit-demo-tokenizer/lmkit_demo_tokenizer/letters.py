"""The tokenizer itself."""

import json
import math
import string
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from lmkit.contracts import Encoding, Tokenizer, Vocabulary
from lmkit.errors import ModelError

LETTERS = " " + string.ascii_lowercase
EOS, UNK, FIRST = 0, 1, 2
UNKNOWN_BITS = math.log2(1_112_064 - len(LETTERS))
"""Any code point but the letters, all alike."""


class LowercaseLetters(Tokenizer):
    """One token a character; it learns nothing from the text."""

    exact = True
    unit = "char"

    def __init__(self) -> None:
        self.vocabulary = Vocabulary(FIRST + len(LETTERS), EOS, UNK, "lowercase-letters-1")

    @classmethod
    def fit(cls, lines: Iterable[str], options: Any) -> Self:
        return cls()

    def encode(self, line: str) -> Encoding:
        ids = [LETTERS.find(c) + FIRST if c in LETTERS else UNK for c in line]
        starts = np.arange(len(line), dtype=np.int64)
        return Encoding(np.array(ids, dtype=np.int32), np.stack([starts, starts + 1], 1))

    def decode(self, ids: Sequence[int]) -> str:
        return "".join("\ufffd" if i == UNK else LETTERS[i - FIRST] for i in ids if i != EOS)

    def residual_bits(self, line: str, ids: np.ndarray) -> float:
        return UNKNOWN_BITS * int((ids == UNK).sum())

    def save(self, directory: Path) -> None:
        (directory / "letters.json").write_text(json.dumps(LETTERS))

    @classmethod
    def load(cls, directory: Path, options: Any) -> Self:
        path = directory / "letters.json"
        if not path.is_file() or json.loads(path.read_text()) != LETTERS:
            raise ModelError(f"{path}: not the letters of this tokenizer; train the model again")
        return cls()
