"""Shared code of the decoders: forbidden tokens, and the loop that chooses one token per row and step."""

from collections.abc import Callable

import torch
from torch import Tensor

from lmkit import states
from lmkit.contracts import Hypothesis, LanguageModel, Vocabulary
from lmkit.errors import ModelError, UsageError
from lmkit.states import State


def forbidden_mask(vocabulary: Vocabulary, forbid_ids: frozenset[int]) -> Tensor:
    """(vocabulary,) bool: the unknown id, which has no spelling, and `forbid_ids`."""
    mask = torch.zeros(vocabulary.size, dtype=torch.bool)
    mask[[i for i in forbid_ids if 0 <= i < vocabulary.size]] = True
    if vocabulary.unk_id is not None:
        mask[vocabulary.unk_id] = True
    return mask


def only_allowed(log_probs: Tensor, forbidden: Tensor) -> Tensor:
    """(rows, vocabulary) with -inf at forbidden ids; errors as in `check_choice`."""
    allowed = log_probs.index_fill(1, forbidden, -torch.inf)
    check_choice(allowed)
    return allowed


def check_choice(log_probs: Tensor) -> None:
    """Check that each row of (rows, vocabulary) has a token to choose.

    Raises ModelError for NaN or infinity, UsageError if all possible tokens are forbidden.
    """
    best = log_probs.amax(-1)
    if bool(best.isfinite().all()):
        return
    if bool((best == -torch.inf).any()):
        raise UsageError("no token is left to choose: all possible tokens are forbidden; forbid fewer")
    raise ModelError(
        "the model gives NaN or infinite log-probabilities, so no token can be chosen; train it again"
    )


@torch.no_grad()
def generate_by_steps(
    model: LanguageModel,
    state: State,
    choose: Callable[[Tensor, Tensor, Tensor], Tensor],
    *,
    max_tokens: int,
    stop_ids: frozenset[int],
    forbid_ids: frozenset[int],
    on_token: Callable[[int, int], None] | None,
) -> list[Hypothesis]:
    """One hypothesis per row, token by token; rows that have ended leave the batch.

    Tokens are chosen on the CPU, in float64, which some accelerators lack, and with the same draws for all devices.
    choose: called with log-probabilities (n, vocabulary), the forbidden ids (k,) and the row numbers (n,); returns
    the ids (n,) and modifies none of these.
    """
    batch_size = len(states.leaves(state)[0])
    forbidden = forbidden_mask(model.vocabulary, forbid_ids).nonzero()[:, 0]
    tokens: list[list[int]] = [[] for _ in range(batch_size)]
    totals = [0.0] * batch_size  # Python's floats are float64
    rows = torch.arange(batch_size)
    for step in range(max_tokens):
        log_probs = model.next_log_probs(state).cpu()
        ids = choose(log_probs, forbidden, rows)
        scores = log_probs.gather(1, ids[:, None])[:, 0]
        going = []
        for i, (row, token, score) in enumerate(
            zip(rows.tolist(), ids.tolist(), scores.tolist(), strict=True)
        ):
            tokens[row].append(token)
            totals[row] += score
            if on_token:
                on_token(row, token)
            if token not in stop_ids:
                going.append(i)
        if not going or step + 1 == max_tokens:
            break
        if len(going) < len(rows):
            keep = torch.tensor(going)
            rows, ids, state = rows[keep], ids[keep], states.take(state, keep.to(model.device))
        state = model.advance(ids.to(model.device), state)
    return [Hypothesis(tuple(t), total) for t, total in zip(tokens, totals, strict=True)]
