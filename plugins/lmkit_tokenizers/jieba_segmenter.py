"""The segmentation of jieba, from the dictionary that it comes with."""

import hashlib
import io
import warnings
from functools import cache
from typing import Any

import numpy as np

from lmkit.corpus.words import WHITE_SPACE
from lmkit.extras import needs

EXTRA = "jieba"
"""The extra that installs the library."""


class Segmenter:
    """jieba with its dictionary.

    digest: of the dictionary and the version, which together with `hmm` decide how text is cut.
    """

    def __init__(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its regular expressions, and of how it finds its files
            library: Any = needs("jieba", EXTRA)
        self._inner = library.Tokenizer()
        with self._inner.get_dict_file() as file:
            dictionary = file.read()
        self.version: str = library.__version__
        self.digest = hashlib.sha256(self.version.encode() + b"\n" + dictionary).hexdigest()
        # jieba itself would read a cache from the shared temporary folder, where anyone may have put another.
        self._inner.FREQ, self._inner.total = self._inner.gen_pfdict(io.BytesIO(dictionary))
        self._inner.initialized = True

    def words(self, line: str, *, hmm: bool) -> tuple[list[str], np.ndarray]:
        """The words of a line, without white space, and their characters [start, end), (words, 2) int64."""
        found = [
            (word, start, end)
            for word, start, end in self._inner.tokenize(line, HMM=hmm)
            if word.strip(WHITE_SPACE)
        ]
        spans = np.array([span for _, *span in found], np.int64).reshape(-1, 2)
        return [word for word, _, _ in found], spans


@cache
def segmenter() -> Segmenter:
    """The segmenter of this process: reading the dictionary takes a second. UsageError if jieba is missing."""
    return Segmenter()
