"""Beam search: find probable continuations with bounded width."""

from collections.abc import Callable

import torch
from torch import Tensor

from lmkit import states
from lmkit.contracts import Decoder, Hypothesis, LanguageModel
from lmkit.states import State
from lmkit_decoders import BeamOptions
from lmkit_decoders.steps import check_choice, forbidden_mask


class BeamDecoder(Decoder):
    """Keeps the `width` best open hypotheses of a row at each length, and also the best finished ones.

    Returns `width` hypotheses per row, best first (fewer if fewer exist), ranked by
    log_prob / length ** length_penalty. No token is final before the end, so `on_token` is never called.
    """

    deterministic = True

    options: BeamOptions

    @torch.no_grad()
    def generate(
        self,
        model: LanguageModel,
        state: State,
        *,
        max_tokens: int,
        stop_ids: frozenset[int] = frozenset(),
        forbid_ids: frozenset[int] = frozenset(),
        generator: torch.Generator | None = None,
        on_token: Callable[[int, int], None] | None = None,
    ) -> list[Hypothesis]:
        forbidden = forbidden_mask(model.vocabulary, forbid_ids)
        stops = [i for i in stop_ids if 0 <= i < model.vocabulary.size]
        stopping = torch.zeros_like(forbidden)
        stopping[stops] = True
        found = []
        for row in range(len(states.leaves(state)[0])):
            start = states.take(state, slice(row, row + 1))
            found += self._search(model, start, max_tokens, stopping, forbidden)
        return found

    def _search(
        self, model: LanguageModel, state: State, max_tokens: int, stopping: Tensor, forbidden: Tensor
    ) -> list[Hypothesis]:
        """The best hypotheses of one row; the batch of `state` becomes the open hypotheses.

        stopping, forbidden: (vocabulary,) bool.
        """
        width = self.options.width
        finished: list[Hypothesis] = []
        prefixes = torch.zeros(1, 0, dtype=torch.long)  # (open, length)
        totals = torch.zeros(1, dtype=torch.float64)  # (open,)
        for step in range(max_tokens):
            log_probs = model.next_log_probs(state).cpu().masked_fill(forbidden, -torch.inf)
            if not finished:
                check_choice(log_probs.amax(0, keepdim=True))
            candidates = totals[:, None] + log_probs.double()
            # A stop token finishes a hypothesis only among the best of all candidates: every step has one, even
            # if improbable, and early ones would otherwise outrank all longer texts.
            best, parents, ids = top(candidates, width)
            ended = stopping[ids]
            ending = torch.cat([prefixes[parents[ended]], ids[ended, None]], 1)
            finished = self._ranked(finished + hypotheses(ending, best[ended]))
            totals, parents, ids = top(candidates.masked_fill(stopping, -torch.inf), width)
            prefixes = torch.cat([prefixes[parents], ids[:, None]], 1)
            if step + 1 == max_tokens or self._decided(finished, totals, max_tokens):
                break
            state = model.advance(ids.to(model.device), states.take(state, parents.to(model.device)))
        return self._ranked(finished + hypotheses(prefixes, totals))

    def _ranked(self, found: list[Hypothesis]) -> list[Hypothesis]:
        return sorted(found, key=self._score, reverse=True)[: self.options.width]

    def _score(self, hypothesis: Hypothesis) -> float:
        return hypothesis.log_prob / max(len(hypothesis.ids), 1) ** self.options.length_penalty

    def _decided(self, finished: list[Hypothesis], totals: Tensor, max_tokens: int) -> bool:
        """Whether no open hypothesis can still rank among the finished ones.

        Log-probabilities only decrease with more tokens, and no divisor is larger than that of `max_tokens`.
        """
        if not len(totals):
            return True
        bound = totals.max().item() / max_tokens**self.options.length_penalty
        return len(finished) == self.options.width and bound <= self._score(finished[-1])


def top(candidates: Tensor, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """The `width` best possible ones of (open, vocabulary), best first: values, rows and ids, each (n,)."""
    values, index = candidates.flatten().topk(min(width, candidates.numel()))
    possible = values > -torch.inf
    values, index = values[possible], index[possible]
    return values, index // candidates.shape[1], index % candidates.shape[1]


def hypotheses(ids: Tensor, totals: Tensor) -> list[Hypothesis]:
    """Rows of ids (n, length) with their log-probabilities (n,)."""
    return [Hypothesis(tuple(row), total) for row, total in zip(ids.tolist(), totals.tolist(), strict=True)]
