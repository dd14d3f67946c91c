"""The bits per byte of a text that is scored again and again, with the part that depends on no model computed once."""

from collections.abc import Iterable, Iterator

import numpy as np

from lmkit.contracts import Tokenizer
from lmkit.corpus.readers import Line
from lmkit.scoring.line_code import LineCoder
from lmkit.scoring.measured_lines import raw_lines
from lmkit.scoring.score import ESCAPED_LIMIT, cannot_restore


class TextCode:
    """The code of a text under one tokenizer, for the figures of `score.evaluate` without reading the text again.

    withheld: the reason for which there are no bits per byte, or None.
    """

    def __init__(self, tokenizer: Tokenizer, text: Iterable[Line], stored: Iterable[np.ndarray]) -> None:
        """stored: the ids of each line, with `</s>`, which may differ where the tokenizer splits unknown words."""
        self._coder = LineCoder(tokenizer)
        self._vocabulary = tokenizer.vocabulary
        self._constant = 0.0
        self._different: dict[int, np.ndarray] = {}
        """By their places, the ids of lines that differ from the stored ones."""
        self._escaped: dict[int, list[slice]] = {}
        """By the places of their lines, the tokens that are escaped: all, unless the line is in pieces."""
        self._bytes = escaped_bytes = 0
        rows, place = iter(stored), -1
        pieces: list[np.ndarray] = []
        for line in raw_lines(text):
            place += not line.inside
            ids = tokenizer.ids(line.text)
            bits, escaped = self._coder.constant_bits(line, ids)
            self._constant += bits
            self._bytes += line.num_bytes + (not line.continues)
            if escaped:
                first = sum(map(len, pieces))
                self._escaped.setdefault(place, []).append(
                    slice(first, first + len(ids) if line.continues else None)
                )
                escaped_bytes += line.num_bytes + 1
            pieces.append(ids)
            if not line.continues:
                ids, pieces = np.concatenate(pieces), []
                if not np.array_equal(ids, next(rows)[:-1]):
                    self._different[place] = np.append(ids, self._vocabulary.eos_id)
        assert next(rows, None) is None, "a stored text has the lines of the text"
        share = escaped_bytes / max(self._bytes, 1)
        self.withheld = cannot_restore(share) if share > ESCAPED_LIMIT else None

    def lines(self, stored: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """The ids of each line, with `</s>`, as the tokenizer reads it."""
        return (self._different.get(place, row) for place, row in enumerate(stored))

    def line_bits(self, place: int, ids: np.ndarray, scores: np.ndarray) -> float:
        """The bits of a line that depend on the model; ids and their log-probabilities, both with `</s>`."""
        unknown = np.flatnonzero(ids[:-1] == self._vocabulary.unk_id)
        bits = self._coder.model_bits(scores, unknown)
        for tokens in self._escaped.get(place, ()):
            bits[tokens] = 0.0
        return float(bits.sum())

    def bits_per_byte(self, bits: float) -> float:
        """The figure, given the sum of `line_bits` over all lines."""
        return (bits + self._constant) / self._bytes
