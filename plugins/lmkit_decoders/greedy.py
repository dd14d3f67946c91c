"""Greedy decoding: the most probable token at each step."""

from collections.abc import Callable

import torch
from torch import Tensor

from lmkit.contracts import Decoder, Hypothesis, LanguageModel
from lmkit.states import State
from lmkit_decoders.steps import generate_by_steps, only_allowed


class GreedyDecoder(Decoder):
    """The most probable token at each step; the lowest id if several are equal. It is deterministic."""

    deterministic = True

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
        return generate_by_steps(
            model,
            state,
            most_probable,
            max_tokens=max_tokens,
            stop_ids=stop_ids,
            forbid_ids=forbid_ids,
            on_token=on_token,
        )


def most_probable(log_probs: Tensor, forbidden: Tensor, rows: Tensor) -> Tensor:
    """The best allowed id (n,) of each row of (n, vocabulary)."""
    return only_allowed(log_probs, forbidden).argmax(-1)
