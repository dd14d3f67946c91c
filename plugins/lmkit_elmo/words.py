"""Compute the vectors of words from their spelling, once per distinct word, with a cache of recent ones."""

import operator
import threading
from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lmkit_elmo.char_cnn import CharacterEncoder
from lmkit_elmo.characters import BOS_ROW, EOS_ROW, rows_of, spelling

MOST_WORDS = 1 << 15
"""Words in the cache: 64 MiB of vectors of width 512."""
PART = 64
"""Numbers of each weight to check for a change."""


class WordVectors:
    """A cache of an encoder's vectors of words, cleared when its weights change; the least recent are dropped.

    Copies and pickles start empty. Threads may share it.
    """

    def __init__(self, encoder: CharacterEncoder, most_words: int = MOST_WORDS) -> None:
        self.encoder = encoder
        self.most_words = most_words
        self._slots: OrderedDict[bytes, int] = OrderedDict()
        """The row of each spelling, the least recently used first."""
        self._table = torch.empty(0)
        self._boundaries: Tensor | None = None
        self._weights: list[nn.Parameter] = []
        self._versions: list[tuple[int, int | None]] = []
        """The memory address of each weight, and its number of changes in place."""
        self._parts = torch.empty(0)
        """The first numbers of each weight."""
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type["WordVectors"], tuple[CharacterEncoder, int]]:
        return WordVectors, (self.encoder, self.most_words)

    def __call__(self, words: Sequence[str]) -> Tensor:
        """(words, width), without gradients for the encoder."""
        spellings = [spelling(word) for word in words]
        distinct = list(dict.fromkeys(spellings))
        # Cached vectors are used with inference mode on and off, so they are computed with it off.
        with self._lock, torch.inference_mode(False), torch.no_grad():
            self._let_go_of_old_weights()
            if len(distinct) > self.most_words:
                places = {key: place for place, key in enumerate(distinct)}
                table = self.encoder.embed_rows(rows_of(distinct))
            else:
                self._keep(distinct)
                places, table = self._slots, self._table
            rows = torch.tensor([places[key] for key in spellings], dtype=torch.int64)
            return table[rows.to(table.device)]

    def boundaries(self) -> Tensor:
        """(2, width) the boundaries before and after a sentence, without gradients."""
        with self._lock, torch.inference_mode(False), torch.no_grad():
            self._let_go_of_old_weights()
            if self._boundaries is None:
                self._boundaries = self.encoder.embed_rows(torch.stack([BOS_ROW, EOS_ROW]))
            return self._boundaries.clone()

    def _keep(self, distinct: Sequence[bytes]) -> None:
        """Give every spelling a row of the table, if necessary that of another."""
        new = []
        for key in distinct:
            if key in self._slots:
                self._slots.move_to_end(key)
            else:
                new.append(key)
        if not new:
            return
        vectors = self.encoder.embed_rows(rows_of(new))
        held = len(self._slots)
        self._grow(min(held + len(new), self.most_words))
        freed = [self._slots.popitem(last=False)[1] for _ in range(held + len(new) - self.most_words)]
        slots = [*freed, *range(held, held + len(new) - len(freed))]
        self._table[slots] = vectors
        self._slots.update(zip(new, slots, strict=True))

    def _grow(self, rows: int) -> None:
        """Make room for this many rows and more, so that growing is rare."""
        if rows > len(self._table):
            spare = min(max(rows, 2 * len(self._table)), self.most_words) - len(self._table)
            self._table = torch.cat([self._table, self._table.new_empty(spare, self.encoder.width)])

    def _let_go_of_old_weights(self) -> None:
        # The weights are kept alive, so that no other can get the same address unnoticed.
        weights = list(self.encoder.parameters())
        versions = [(w.data_ptr(), None if w.is_inference() else w._version) for w in weights]
        # Fused optimisers do not increase versions, but change every weight.
        parts = torch.cat([w.flatten()[:PART] for w in weights])
        same = len(weights) == len(self._weights) and all(map(operator.is_, weights, self._weights))
        if not same or versions != self._versions or not torch.equal(parts, self._parts):
            self._weights, self._versions, self._parts = weights, versions, parts
            self._slots.clear()
            self._boundaries = None
            self._table = self.encoder.embedding.new_empty(0, self.encoder.width)
