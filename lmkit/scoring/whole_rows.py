"""Figures of tokens from whole distributions: entropy, rank, and the mass of pieces that end a word."""

import math

import torch
from torch import Tensor

from lmkit.contracts import LanguageModel, State
from lmkit.scoring.stream import Measure


class WholeRows(Measure):
    """Figures that need the whole distribution of every token, computed in chunks of time.

    word_starts: (vocabulary,) bool; it adds `log_prob` and `log_mass`, the logarithm of the mass of these pieces
    and of `</s>`, which end a word. entropy: in nats. rank: 1 + the number of more probable tokens.
    """

    def __init__(
        self, word_starts: Tensor | None, eos_id: int, *, entropy: bool = False, rank: bool = False
    ) -> None:
        wanted = {
            "log_prob": word_starts is not None,
            "log_mass": word_starts is not None,
            "entropy": entropy,
            "rank": rank,
        }
        self.names = tuple(name for name, is_wanted in wanted.items() if is_wanted)
        self._bias: Tensor | None = None
        if word_starts is not None:
            ends_a_word = word_starts.clone()
            ends_a_word[eos_id] = True
            self._bias = torch.zeros(len(word_starts)).masked_fill(~ends_a_word, -math.inf)

    def __call__(self, model: LanguageModel, ids: Tensor, state: State) -> tuple[Tensor, State]:
        found = []
        at = 0
        for rows, after in model.scan(ids, state):
            found.append(self._figures(rows, ids[:, at : at + rows.shape[1]]))
            at += rows.shape[1]
            state = after
        return torch.cat(found, 1), state

    def _figures(self, rows: Tensor, ids: Tensor) -> Tensor:
        """(batch, chunk, figures) of rows (batch, chunk, vocabulary)."""
        log_prob = rows.gather(2, ids[..., None])
        figures = []
        if self._bias is not None:
            self._bias = self._bias.to(rows)
            figures += [log_prob[..., 0], (rows + self._bias).logsumexp(-1)]
        if "entropy" in self.names:
            figures.append(torch.special.entr(rows.exp()).sum(-1))
        if "rank" in self.names:
            figures.append((rows > log_prob).sum(-1).to(rows) + 1)
        return torch.stack(figures, -1)
