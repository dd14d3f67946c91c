"""The rules for decoders, tested on a model that is a table."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Self

import torch

from lmkit import states
from lmkit.contracts import Decoder, Hypothesis
from lmkit.errors import LmkitError
from lmkit.plugins import Part
from lmkit.testing.rules import NoInput, RuleBook, no_input
from lmkit.testing.samples import VOCABULARY, random_bigram, small_options

STOP = frozenset({VOCABULARY.eos_id, 5})
FORBIDDEN = frozenset({2, 3})


@dataclass(frozen=True)
class Prompts:
    """The last id of each row, and max_tokens; the model is `random_bigram()`."""

    starts: tuple[int, ...] = (4, 6, 7)
    max_tokens: int = 6

    def __str__(self) -> str:
        starts = ", ".join(map(str, self.starts))
        return f"random_bigram() of lmkit.testing, rows that end in {starts}, max_tokens {self.max_tokens}"

    def smaller(self) -> Iterator[Self]:
        """One row, then fewer tokens."""
        if len(self.starts) > 1:
            yield from (replace(self, starts=(start,)) for start in self.starts)
        yield from (replace(self, max_tokens=count) for count in range(1, self.max_tokens))


def three_rows(part: Part) -> list[Prompts]:
    return [Prompts()]


def three_long_rows(part: Part) -> list[Prompts]:
    """Prompts with enough tokens for a sampler, whose seed is fixed, to draw each of a few ids."""
    return [Prompts(max_tokens=20)]


RULES = RuleBook(three_rows)


def generated(part: Part, prompts: Prompts, *, seed: int = 0, **settings: Any) -> list[Hypothesis]:
    """Continuations of one token a row, by the part with its default options."""
    decoder: Decoder = part.load()(small_options(part))
    generator = torch.Generator().manual_seed(seed)
    settings = {"max_tokens": prompts.max_tokens, **settings}
    return decoder.generate(random_bigram(), torch.tensor(prompts.starts), generator=generator, **settings)


@RULES("return the same number of Hypothesis for every row of the state, row 0 first", about=("generate",))
def check_rows(part: Part, prompts: Prompts) -> None:
    """Every row gets at least one hypothesis, the same number for each row."""
    rows = len(prompts.starts)
    for max_tokens in sorted({0, 1, prompts.max_tokens}):
        count = len(generated(part, prompts, max_tokens=max_tokens, stop_ids=STOP))
        assert count, f"there are no hypotheses for max_tokens {max_tokens}"
        assert count % rows == 0, f"{rows} rows get {count} hypotheses"


@RULES(
    "end a row right after its first id of stop_ids, which is its last id, and otherwise after max_tokens",
    about=("generate",),
)
def check_length(part: Part, prompts: Prompts) -> None:
    """A hypothesis ends with its first stop token, or after max_tokens."""
    most = prompts.max_tokens
    for seed in range(10):
        for found in generated(part, prompts, seed=seed, stop_ids=STOP):
            *before, last = found.ids
            assert not STOP.intersection(before), f"{found.ids} continues after a stop token ({sorted(STOP)})"
            assert len(found.ids) <= most, f"{found.ids} has more than {most} tokens"
            assert last in STOP or len(found.ids) == most, f"{found.ids} ends early"
    for found in generated(part, prompts):
        assert len(found.ids) == most, f"without stop tokens, {found.ids} is not of max_tokens"


@RULES(
    "give the ids of forbid_ids and model.vocabulary.unk_id (if it is not None) no probability before you choose",
    about=("generate",),
    cases=three_long_rows,
)
def check_forbidden(part: Part, prompts: Prompts) -> None:
    """The unknown id and forbidden ids are never emitted; all others are ids of the vocabulary."""
    assert VOCABULARY.unk_id is not None
    for seed in range(10):
        for found in generated(part, prompts, seed=seed, forbid_ids=FORBIDDEN):
            unknown = VOCABULARY.unk_id in found.ids
            assert not unknown, f"the unknown id {VOCABULARY.unk_id} is emitted: {found.ids}"
            assert not FORBIDDEN.intersection(found.ids), f"{found.ids} has one of {sorted(FORBIDDEN)}"
            known = all(0 <= i < VOCABULARY.size for i in found.ids)
            assert known, f"{found.ids} has an id outside the vocabulary of {VOCABULARY.size}"


@RULES(
    'raise lmkit.errors.UsageError("every token is forbidden ...") when no id is left to choose',
    about=("generate",),
)
def check_nothing_left(part: Part, prompts: Prompts) -> None:
    """When every token is forbidden, the decoder raises an error of lmkit.errors."""
    try:
        found = generated(part, prompts, forbid_ids=frozenset(range(VOCABULARY.size)))
    except LmkitError:
        return
    raise AssertionError(f"it gives {found[0]}")


@RULES(
    "add up model.next_log_probs of the chosen ids as they are: before temperature, truncation or forbidden ids",
    about=("generate",),
)
def check_log_prob(part: Part, prompts: Prompts) -> None:
    """log_prob is the model's own log-probability of the ids: untruncated, not renormalised."""
    model = random_bigram()
    found = generated(part, prompts, stop_ids=STOP, forbid_ids=FORBIDDEN)
    for index, one in enumerate(found):
        start = prompts.starts[index * len(prompts.starts) // len(found)]
        scores, _ = model.log_probs(torch.tensor([one.ids]), torch.tensor([start]))
        wanted = float(scores.double().sum())
        assert abs(one.log_prob - wanted) < 1e-5, (
            f"{one.ids} has log_prob {one.log_prob:.3f}, by the model {wanted:.3f}"
        )


@RULES("return Hypothesis((), 0.0) for each row if max_tokens is 0", about=("generate",))
def check_max_tokens_zero(part: Part, prompts: Prompts) -> None:
    """max_tokens 0 gives empty hypotheses with log-probability 0."""
    for found in generated(part, prompts, max_tokens=0, stop_ids=STOP):
        assert found == Hypothesis((), 0.0), f"it gives {found}"


@RULES("draw every random number with generator=generator", about=("generate",))
def check_seed(part: Part, prompts: Prompts) -> None:
    """The same seed gives the same hypotheses, and the generator is the only source of randomness."""
    before = torch.get_rng_state()
    first = generated(part, prompts, stop_ids=STOP)
    assert torch.equal(torch.get_rng_state(), before), "it draws from torch's global generator"
    assert generated(part, prompts, stop_ids=STOP) == first, "a second run with the same seed differs"


@RULES("choose a row's tokens from that row's distribution alone", about=("generate",))
def check_rows_independent(part: Part, prompts: Prompts) -> None:
    """The hypotheses of a row do not depend on the other rows."""
    others = replace(prompts, starts=(prompts.starts[0], *(8, 9, 8)[: len(prompts.starts) - 1]))
    first, second = generated(part, prompts), generated(part, others)
    width = len(first) // len(prompts.starts)
    assert second[:width] == first[:width], f"row 0 gives {second[0]}, among other rows {first[0]}"


@RULES(
    "draw each block of rows with its own generator of the list, or leave takes_generators False",
    about=("generate",),
    cases=no_input,
)
def check_generators(part: Part, _: NoInput) -> None:
    """A decoder with several generators continues each block of rows as with its own generator alone."""
    decoder: Decoder = part.load()(small_options(part))
    if not decoder.takes_generators:
        return
    blocks, most = [(4, 6), (7, 4), (6, 6)], Prompts().max_tokens
    chance: Any = [torch.Generator().manual_seed(seed) for seed in range(len(blocks))]
    starts = torch.tensor([start for block in blocks for start in block])
    found = decoder.generate(random_bigram(), starts, max_tokens=most, stop_ids=STOP, generator=chance)
    alone = [
        one
        for seed, block in enumerate(blocks)
        for one in generated(part, Prompts(block), seed=seed, stop_ids=STOP)
    ]
    assert [one.ids for one in found] == [one.ids for one in alone], (
        "a block differs from the same rows alone"
    )


@RULES(
    "call on_token(row, id) for each id of the row's first hypothesis, in order, or never",
    about=("generate",),
)
def check_on_token(part: Part, prompts: Prompts) -> None:
    """on_token reports the tokens of each row's first hypothesis in order, or nothing at all."""
    rows = len(prompts.starts)
    told: dict[int, list[int]] = {row: [] for row in range(rows)}
    tell: Callable[[int, int], None] = lambda row, token: told[row].append(token)  # noqa: E731
    found = generated(part, prompts, stop_ids=STOP, on_token=tell)
    if any(told.values()):
        firsts = [list(one.ids) for one in found[:: len(found) // rows]]
        assert list(told.values()) == firsts, f"it reports {list(told.values())}, the hypotheses are {firsts}"


@RULES("copy the state before you change it: lmkit.states.apply(torch.clone, state)", about=("generate",))
def check_state_kept(part: Part, prompts: Prompts) -> None:
    """The caller's state is not modified."""
    decoder: Decoder = part.load()(small_options(part))
    model = random_bigram()
    state = model.initial_state(len(prompts.starts))
    copy = states.apply(lambda t: t.clone(), state)
    decoder.generate(model, state, max_tokens=prompts.max_tokens, generator=torch.Generator())
    same = all(torch.equal(a, b) for a, b in zip(states.leaves(state), states.leaves(copy), strict=True))
    assert same, "it is changed in place"
