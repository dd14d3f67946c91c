"""Number the words of each row of a text."""

import re

import numpy as np

from lmkit.corpus.words import WHITE_SPACE, count_words
from lmkit.scoring.measured_lines import RawLine

_WORD = re.compile(f"[^{re.escape(WHITE_SPACE)}]+")


class WordNumbers:
    """The number of words between white space that have begun, in each row or sentence from 1.

    A prefix has no numbers. Lines come in the order of the text.
    """

    def __init__(self) -> None:
        self._row = self._before = 0

    def of(self, line: RawLine, places: np.ndarray) -> np.ndarray:
        """(places,) the number of the word at each place of a line; at white space, that of the word before it."""
        begins = [word.start() for word in _WORD.finditer(line.text)]
        if line.row != self._row:
            self._row, self._before = line.row, 0
        in_prefix = count_words(line.text[: line.prefix].encode("utf-8", "surrogatepass"))
        # A piece of a very long line may begin inside a word, which the piece before it has counted.
        offset = self._before - in_prefix - (len(begins) - line.num_words)
        self._before += line.num_words - in_prefix
        return np.maximum(np.searchsorted(begins, places, side="right") + offset, 1)
