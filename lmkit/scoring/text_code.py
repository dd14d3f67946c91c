"""The bits per byte of a text that is scored again and again, with the part that depends on no model computed once."""

from collections.abc import Iterable, Iterator

import numpy as np

from lmkit.contracts import Tokenizer
from lmkit.corpus.readers import Line
from lmkit.scoring.line_code import LineCoder
from lmkit.scoring.measured_lines import whole_lines
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
        self._escaped: set[int] = set()
        """The places of escaped lines."""
        self._bytes = escaped_bytes = 0
        for place, (line, row) in enumerate(zip(whole_lines(text), stored, strict=True)):
            ids = tokenizer.ids(line.text)
            if not np.array_equal(ids, row[:-1]):
                self._different[place] = np.append(ids, self._vocabulary.eos_id)
            bits, escaped = self._coder.constant_bits(line, ids)
            self._constant += bits
            self._bytes += line.num_bytes + 1
            if escaped:
                self._escaped.add(place)
                escaped_bytes += line.num_bytes + 1
        share = escaped_bytes / max(self._bytes, 1)
        self.withheld = cannot_restore(share) if share > ESCAPED_LIMIT else None

    def lines(self, stored: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """The ids of each line, with `</s>`, as the tokenizer reads it."""
        return (self._different.get(place, row) for place, row in enumerate(stored))

    def line_bits(self, place: int, ids: np.ndarray, scores: np.ndarray) -> float:
        """The bits of a line that depend on the model; ids and their log-probabilities, both with `</s>`."""
        if place in self._escaped:
            return 0.0
        unknown = np.flatnonzero(ids[:-1] == self._vocabulary.unk_id)
        return float(self._coder.model_bits(scores, unknown).sum())

    def bits_per_byte(self, bits: float) -> float:
        """The figure, given the sum of `line_bits` over all lines."""
        return (bits + self._constant) / self._bytes
