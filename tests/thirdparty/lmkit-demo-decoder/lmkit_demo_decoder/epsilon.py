"""The decoder itself."""

from collections.abc import Callable

import torch
from torch import Tensor

from lmkit import states
from lmkit.contracts import Decoder, Hypothesis, LanguageModel, State
from lmkit.errors import UsageError


class EpsilonDecoder(Decoder):
    """Draws from the tokens whose probability is at least epsilon; from the best one where there is none."""

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
        unknown = model.vocabulary.unk_id
        never = sorted(forbid_ids if unknown is None else forbid_ids | {unknown})
        tokens: list[list[int]] = [[] for _ in states.leaves(state)[0]]
        totals = [0.0] * len(tokens)
        going = set(range(len(tokens)))
        for _ in range(max_tokens):
            log_probs = model.next_log_probs(state)
            ids = torch.multinomial(self._weights(log_probs, never), 1, generator=generator)
            for row in sorted(going):
                token = int(ids[row, 0])
                tokens[row].append(token)
                totals[row] += float(log_probs[row, token])
                if on_token:
                    on_token(row, token)
            going -= {row for row in going if tokens[row][-1] in stop_ids}
            if not going:
                break
            state = model.advance(ids[:, 0], state)
        return [Hypothesis(tuple(row), total) for row, total in zip(tokens, totals, strict=True)]

    def _weights(self, log_probs: Tensor, never: list[int]) -> Tensor:
        probs = log_probs.exp()
        probs[:, never] = 0
        if not bool((probs > 0).any(-1).all()):
            raise UsageError("every token is forbidden; forbid fewer")
        best = probs == probs.amax(-1, keepdim=True)
        return torch.where((probs >= self.options.epsilon) | best, probs, 0)
