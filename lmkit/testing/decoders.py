"""The rules for decoders, tested on a model that is a table."""

from collections.abc import Callable
from typing import Any

import torch

from lmkit import states
from lmkit.contracts import Decoder, Hypothesis
from lmkit.errors import LmkitError
from lmkit.plugins import Part
from lmkit.testing.samples import VOCABULARY, random_bigram, small_options

ROWS, TOKENS = 3, 6
EOS = VOCABULARY.eos_id
STOP = frozenset({EOS, 5})
FORBIDDEN = frozenset({2, 3})


def generated(
    part: Part, starts: tuple[int, ...] = (4, 6, 7), *, seed: int = 0, **settings: Any
) -> list[Hypothesis]:
    """Continuations of one token a row, by the part with its default options."""
    decoder: Decoder = part.load()(small_options(part))
    generator = torch.Generator().manual_seed(seed)
    settings = {"max_tokens": TOKENS, **settings}
    return decoder.generate(random_bigram(), torch.tensor(starts), generator=generator, **settings)


def check_rows(part: Part) -> None:
    """Every row gets at least one hypothesis, the same number for each row."""
    for max_tokens in (0, 1, TOKENS):
        count = len(generated(part, max_tokens=max_tokens, stop_ids=STOP))
        assert count, "there are no hypotheses"
        assert count % ROWS == 0, f"{ROWS} rows got {count} hypotheses"


def check_length(part: Part) -> None:
    """A hypothesis ends with its first stop token, or after max_tokens."""
    for seed in range(10):
        for found in generated(part, seed=seed, stop_ids=STOP):
            *before, last = found.ids
            assert not STOP.intersection(before), f"{found.ids} continues after a stop token ({sorted(STOP)})"
            assert len(found.ids) <= TOKENS, f"{found.ids} has more than {TOKENS} tokens"
            assert last in STOP or len(found.ids) == TOKENS, f"{found.ids} ends early"
    long = generated(part)
    assert all(len(found.ids) == TOKENS for found in long), (
        "without stop tokens, hypotheses are not of max_tokens"
    )


def check_forbidden(part: Part) -> None:
    """The unknown id and forbidden ids are never emitted; all others are ids of the vocabulary."""
    assert VOCABULARY.unk_id is not None
    never = FORBIDDEN | {VOCABULARY.unk_id}
    for seed in range(10):
        for found in generated(part, seed=seed, forbid_ids=FORBIDDEN, max_tokens=20):
            assert not never.intersection(found.ids), f"{found.ids} has one of {sorted(never)}"
            assert all(0 <= i < VOCABULARY.size for i in found.ids), (
                f"{found.ids} has an id outside the vocabulary"
            )


def check_nothing_left(part: Part) -> None:
    """When every token is forbidden, the decoder raises an error of lmkit.errors."""
    try:
        found = generated(part, forbid_ids=frozenset(range(VOCABULARY.size)))
    except LmkitError:
        return
    raise AssertionError(f"it gives {found[0]}")


def check_log_prob(part: Part) -> None:
    """log_prob is the model's own log-probability of the ids: untruncated, not renormalised."""
    model = random_bigram()
    starts = (4, 6, 7)
    found = generated(part, starts, stop_ids=STOP, forbid_ids=FORBIDDEN)
    for index, one in enumerate(found):
        start = starts[index * ROWS // len(found)]
        scores, _ = model.log_probs(torch.tensor([one.ids]), torch.tensor([start]))
        wanted = float(scores.double().sum())
        assert abs(one.log_prob - wanted) < 1e-5, f"{one.ids} has {one.log_prob}, by the model {wanted}"


def check_max_tokens_zero(part: Part) -> None:
    """max_tokens 0 gives empty hypotheses with log-probability 0."""
    for found in generated(part, max_tokens=0, stop_ids=STOP):
        assert found == Hypothesis((), 0.0), f"it gives {found}"


def check_seed(part: Part) -> None:
    """The same seed gives the same hypotheses, and the generator is the only source of randomness."""
    before = torch.get_rng_state()
    first = generated(part, stop_ids=STOP)
    assert torch.equal(torch.get_rng_state(), before), "it draws from torch's global generator"
    assert generated(part, stop_ids=STOP) == first, "a second run differs"


def check_rows_independent(part: Part) -> None:
    """The hypotheses of a row do not depend on the other rows."""
    first, second = generated(part, (4, 6, 7)), generated(part, (4, 8, 9))
    width = len(first) // ROWS
    assert second[:width] == first[:width], f"row 0 gives {second[0]}, among other rows {first[0]}"


def check_generators(part: Part) -> None:
    """A decoder with several generators continues each block of rows as with its own generator alone."""
    decoder: Decoder = part.load()(small_options(part))
    if not decoder.takes_generators:
        return
    blocks = [(4, 6), (7, 4), (6, 6)]
    chance: Any = [torch.Generator().manual_seed(seed) for seed in range(len(blocks))]
    starts = torch.tensor([start for block in blocks for start in block])
    found = decoder.generate(random_bigram(), starts, max_tokens=TOKENS, stop_ids=STOP, generator=chance)
    alone = [
        one for seed, block in enumerate(blocks) for one in generated(part, block, seed=seed, stop_ids=STOP)
    ]
    assert [one.ids for one in found] == [one.ids for one in alone], (
        "a block differs from the same rows alone"
    )


def check_on_token(part: Part) -> None:
    """on_token reports the tokens of each row's first hypothesis in order, or nothing at all."""
    told: dict[int, list[int]] = {row: [] for row in range(ROWS)}
    tell: Callable[[int, int], None] = lambda row, token: told[row].append(token)  # noqa: E731
    found = generated(part, stop_ids=STOP, on_token=tell)
    if any(told.values()):
        firsts = [list(one.ids) for one in found[:: len(found) // ROWS]]
        assert list(told.values()) == firsts, f"it reports {list(told.values())}, the hypotheses are {firsts}"


def check_state_kept(part: Part) -> None:
    """The caller's state is not modified."""
    decoder: Decoder = part.load()(small_options(part))
    model = random_bigram()
    state = model.initial_state(ROWS)
    copy = states.apply(lambda t: t.clone(), state)
    decoder.generate(model, state, max_tokens=TOKENS, generator=torch.Generator())
    same = all(torch.equal(a, b) for a, b in zip(states.leaves(state), states.leaves(copy), strict=True))
    assert same, "it is changed in place"


CHECKS = (
    check_rows,
    check_length,
    check_forbidden,
    check_nothing_left,
    check_log_prob,
    check_max_tokens_zero,
    check_seed,
    check_rows_independent,
    check_generators,
    check_on_token,
    check_state_kept,
)
