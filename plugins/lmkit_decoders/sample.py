"""Sampling: each token is drawn from the model's distribution, reshaped and truncated by options."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lmkit.contracts import Decoder, Hypothesis, LanguageModel
from lmkit.states import State, leaves
from lmkit_decoders import SampleOptions
from lmkit_decoders.greedy import most_probable
from lmkit_decoders.steps import generate_by_steps, only_allowed

BLOCK = 256
"""Size of the blocks of weights when a token is drawn: about the square root of a large vocabulary."""


class SampleDecoder(Decoder):
    """Draws each token by inverting the cumulative distribution at one uniform number per row.

    A uniform number is drawn for every row at every step, even if the row has ended, so that the text of a row
    does not depend on when the others end. Temperature 0 is greedy decoding and draws no numbers.
    """

    takes_generators = True

    options: SampleOptions

    def generate(
        self,
        model: LanguageModel,
        state: State,
        *,
        max_tokens: int,
        stop_ids: frozenset[int] = frozenset(),
        forbid_ids: frozenset[int] = frozenset(),
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        on_token: Callable[[int, int], None] | None = None,
    ) -> list[Hypothesis]:
        batch_size = len(leaves(state)[0])
        generators = generator if isinstance(generator, Sequence) else [generator]
        share = batch_size // len(generators)

        def draw(log_probs: Tensor, forbidden: Tensor, rows: Tensor) -> Tensor:
            uniforms = torch.cat([uniform(share, one) for one in generators])
            return inverse_cdf(weights(log_probs, forbidden, self.options), uniforms[rows])

        return generate_by_steps(
            model,
            state,
            draw if self.options.temperature > 0 else most_probable,
            max_tokens=max_tokens,
            stop_ids=stop_ids,
            forbid_ids=forbid_ids,
            on_token=on_token,
        )


def uniform(count: int, generator: torch.Generator | None) -> Tensor:
    """Random numbers (count,) in [0, 1), on the CPU."""
    device = torch.device("cpu") if generator is None else generator.device
    return torch.rand(count, dtype=torch.float64, generator=generator, device=device).cpu()


def weights(log_probs: Tensor, forbidden: Tensor, options: SampleOptions) -> Tensor:
    """Weights (rows, vocabulary) for drawing tokens.

    Without options they are the probabilities in the model's precision: each additional pass over the vocabulary
    would cost as much as a part of the model.
    """
    if options == SampleOptions():
        probs = log_probs.exp().index_fill_(1, forbidden, 0.0)
        if bool(probs.sum(-1).log().isfinite().all()):  # neither 0 nor NaN nor infinite
            return probs
    return distribution(only_allowed(log_probs, forbidden), options)


def distribution(log_probs: Tensor, options: SampleOptions) -> Tensor:
    """The probabilities (rows, vocabulary), float64, from which tokens are drawn.

    The order: forbidden tokens (-inf) are out; the temperature; then top-k, top-p (Holtzman et al., 2020) and
    min-p (Nguyen et al., 2024), each on the renormalised rest of the previous one. The most probable token
    always stays; among equally probable tokens at the edge, the lowest ids stay.
    """
    scores = log_probs.cpu().double()
    # Subtract the maximum first: a division by a tiny temperature would otherwise overflow for every token.
    probs = ((scores - scores.amax(-1, keepdim=True)) / options.temperature).softmax(-1)
    if options.top_k is None and options.top_p >= 1 and options.min_p <= 0:
        return probs
    ranked, order = probs.sort(dim=-1, descending=True, stable=True)
    if options.top_k is not None:
        ranked[:, options.top_k :] = 0
    if options.top_p < 1:
        before = ranked.cumsum(-1) - ranked
        cut = before >= options.top_p * ranked.sum(-1, keepdim=True)
        cut[:, 0] = False
        ranked[cut] = 0
    ranked[ranked < options.min_p * ranked[:, :1]] = 0
    kept = torch.zeros_like(probs).scatter(1, order, ranked)
    return kept / kept.sum(-1, keepdim=True)


def inverse_cdf(weights: Tensor, uniforms: Tensor) -> Tensor:
    """The first id of each row whose cumulative share of the weights passes the row's uniform number in [0, 1).

    First sums blocks, then searches within one block, so that the vocabulary is read once.
    """
    rows, size = weights.shape
    whole = size - size % BLOCK
    sums = weights[:, :whole].view(rows, -1, BLOCK).sum(-1) if whole else weights.new_zeros(rows, 0)
    if whole < size:
        sums = torch.cat([sums, weights[:, whole:].sum(-1, keepdim=True)], 1)
    # Scale by the sum of the weights, not by 1, since rounding changes the sum slightly.
    block, left = _passed(sums, uniforms[:, None] * sums.double().sum(-1, keepdim=True))
    ids = block * BLOCK + torch.arange(BLOCK)
    inside = weights.gather(1, ids.clamp_max(size - 1)).masked_fill(ids >= size, 0.0)
    found, _ = _passed(inside, left)
    return (block * BLOCK + found)[:, 0]


def _passed(weights: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The first index of each row where the cumulative weight exceeds the target (rows, 1), and the rest there."""
    cumulative = weights.cumsum(-1, dtype=torch.float64)
    places = torch.searchsorted(cumulative, targets, right=True)
    if int(places.max()) == weights.shape[1]:
        # Rounding may put the target at or past the whole sum; then the last index with a weight is used.
        last = weights.shape[1] - 1 - (weights > 0).int().flip(-1).argmax(-1, keepdim=True)
        places = torch.minimum(places, last)
    return places, targets - cumulative.gather(1, places) + weights.gather(1, places)
