"""Sampling: the truncated distribution, and draws that follow it."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lmkit_decoders import SampleOptions
from lmkit_decoders.greedy import GreedyDecoder
from lmkit_decoders.sample import BLOCK, SampleDecoder, distribution, inverse_cdf, weights

from lmkit.errors import UsageError
from lmkit.options import resolve
from lmkit.specs import NoOptions
from lmkit.testing import BigramTable, random_bigram

MODEL = random_bigram()


def truncated(probs: list[float], options: SampleOptions) -> list[float]:
    """The distribution by its description, in plain Python."""
    powers = [p ** (1 / options.temperature) for p in probs]
    weights = {i: w / sum(powers) for i, w in enumerate(powers)}
    ranked = sorted(weights, key=lambda i: (-weights[i], i))
    ranked = ranked[: options.top_k] if options.top_k else ranked
    total, kept, mass = sum(weights[i] for i in ranked), [], 0.0
    for i in ranked:
        if kept and mass >= options.top_p * total:
            break
        kept.append(i)
        mass += weights[i]
    kept = [i for i in kept if weights[i] >= options.min_p * weights[kept[0]]]
    total = sum(weights[i] for i in kept)
    return [weights[i] / total if i in kept else 0.0 for i in range(len(probs))]


@settings(deadline=None, max_examples=200)
@given(
    weights=st.lists(st.integers(1, 1000), min_size=1, max_size=12, unique=True),
    temperature=st.floats(0.3, 3),
    top_k=st.none() | st.integers(1, 14),
    top_p=st.floats(0, 1),
    min_p=st.floats(0, 1),
)
def test_distribution(
    weights: list[int], temperature: float, top_k: int | None, top_p: float, min_p: float
) -> None:
    """Temperature, top-k, top-p and min-p, in this order, each on what the one before left."""
    options = SampleOptions(temperature, top_k, top_p, min_p)
    probs = [w / sum(weights) for w in weights]
    got = distribution(torch.tensor([probs], dtype=torch.float64).log(), options)[0]
    wanted = truncated(probs, options)
    if [g > 0 for g in got.tolist()] == [w > 0 for w in wanted]:
        assert got.tolist() == pytest.approx(wanted, abs=1e-9)
    else:
        # A sum or a ratio within rounding of its bound may fall on either side of it.
        moved = SampleOptions(temperature, top_k, min(1, top_p + 1e-9), max(0, min_p - 1e-9))
        back = SampleOptions(temperature, top_k, max(0, top_p - 1e-9), min(1, min_p + 1e-9))
        assert truncated(probs, moved) != truncated(probs, back)


def test_ties_at_the_edge() -> None:
    """Of tokens that are equally probable at the edge of top-k, the lowest ids stay."""
    probs = torch.tensor([[0.1, 0.3, 0.3, 0.3]]).log()
    assert distribution(probs, SampleOptions(top_k=2))[0].tolist() == pytest.approx([0, 0.5, 0.5, 0])


@pytest.mark.parametrize("temperature", [5e-324, 1e-30, 1000.0])
def test_extreme_temperatures(temperature: float) -> None:
    """No legal temperature overflows: tiny ones choose the best token, huge ones are nearly uniform."""
    got = distribution(torch.tensor([[-1.0, -2.0, -torch.inf]]), SampleOptions(temperature))[0]
    assert got.tolist() == pytest.approx([1, 0, 0] if temperature < 1 else [0.50025, 0.49975, 0], abs=1e-6)


@pytest.mark.parametrize(
    "options",
    [SampleOptions(), SampleOptions(0.7), SampleOptions(top_k=4), SampleOptions(1.3, 8, 0.8, 0.05)],
    ids=["plain", "temperature", "top-k", "all"],
)
def test_frequencies(options: SampleOptions) -> None:
    """Tokens come as often as the truncated distribution says (chi-square, five standard deviations)."""
    draws = 20_000
    generator = torch.Generator().manual_seed(1)
    found = SampleDecoder(options).generate(
        MODEL, torch.full((draws,), 4), max_tokens=1, forbid_ids=frozenset({2}), generator=generator
    )
    counts = [0] * 11
    for one in found:
        counts[one.ids[0]] += 1
    allowed = [0.0 if i in (1, 2) else p for i, p in enumerate(MODEL.table[4].double().exp().tolist())]
    wanted = truncated([p / sum(allowed) for p in allowed], options)
    assert all(count == 0 for count, p in zip(counts, wanted, strict=True) if p == 0)
    statistic = sum((c - draws * p) ** 2 / (draws * p) for c, p in zip(counts, wanted, strict=True) if p > 0)
    freedom = sum(p > 0 for p in wanted) - 1
    assert statistic < freedom + 5 * math.sqrt(2 * freedom)


def test_inverse_cdf_at_the_ends() -> None:
    """A uniform of 0 gives the first possible id, the largest below 1 the last; never an impossible one."""
    probs = torch.tensor([[0.0, 0.4, 0.0, 0.6, 0.0]], dtype=torch.float64).repeat(4, 1)
    uniforms = torch.tensor([0.0, 0.4 - 1e-12, 0.4 + 1e-12, 1 - 2**-53], dtype=torch.float64)
    assert inverse_cdf(probs, uniforms).tolist() == [1, 1, 3, 3]


def test_temperature_zero_is_greedy() -> None:
    """Temperature 0 takes the best token and draws nothing."""
    state = torch.arange(2, 11)
    generator = torch.Generator().manual_seed(3)
    before = generator.get_state()
    found = SampleDecoder(SampleOptions(temperature=0.0)).generate(
        MODEL, state, max_tokens=6, generator=generator
    )
    assert found == GreedyDecoder(NoOptions()).generate(MODEL, state, max_tokens=6)
    assert torch.equal(generator.get_state(), before)


def test_rows_do_not_disturb_each_other() -> None:
    """A row's draws are the same whenever the other rows end."""
    decoder = SampleDecoder(SampleOptions())
    runs = []
    for stop in (frozenset(), frozenset({0, 2, 3})):
        generator = torch.Generator().manual_seed(0)
        runs.append(
            decoder.generate(MODEL, torch.arange(2, 11), max_tokens=12, stop_ids=stop, generator=generator)
        )
    for free, stopped in zip(*runs, strict=True):
        assert free.ids[: len(stopped.ids)] == stopped.ids


def test_log_prob_is_the_models() -> None:
    """log_prob knows nothing of temperature and truncation."""
    decoder = SampleDecoder(SampleOptions(0.5, 3, 0.9, 0.1))
    state = torch.arange(2, 8)
    for start, found in zip(
        state, decoder.generate(MODEL, state, max_tokens=9, generator=torch.Generator()), strict=True
    ):
        scores, _ = MODEL.log_probs(torch.tensor([found.ids]), start[None])
        assert found.log_prob == pytest.approx(float(scores.double().sum()), abs=1e-5)


def test_zero_probability_is_never_drawn() -> None:
    """A token to which the model gives probability 0 does not come."""
    table = torch.full((12, 11), -torch.inf)
    table[:, [3, 10]] = math.log(0.5)
    model = BigramTable(MODEL.vocabulary, table)
    (found,) = SampleDecoder(SampleOptions()).generate(model, torch.tensor([4]), max_tokens=300)
    assert set(found.ids) == {3, 10}


@pytest.mark.parametrize(
    "table",
    [{"temperature": -0.1}, {"top_k": 0}, {"top_p": 1.1}, {"min_p": -1}, {"temperature": float("nan")}],
)
def test_options_are_bounded(table: dict) -> None:
    """Options that mean nothing are refused before anything runs."""
    with pytest.raises(UsageError):
        resolve(SampleOptions, table, "decoder")


@settings(deadline=None, max_examples=50)
@given(size=st.integers(1, 3 * BLOCK + 5), seed=st.integers(0, 999))
def test_blocks_draw_what_one_sum_draws(size: int, seed: int) -> None:
    """Summing by blocks first gives the id that a cumulative sum over the whole vocabulary gives."""
    generator = torch.Generator().manual_seed(seed)
    # Small whole numbers, many of them zero: every sum is exact.
    numbers = torch.randint(-3, 4, (4, size), generator=generator).clamp_min(0).double()
    numbers[:, -1] += 1
    uniforms = torch.rand(4, dtype=torch.float64, generator=generator)
    uniforms[0] = 0
    uniforms[1] = 1 - 2**-53
    cumulative = numbers.cumsum(1)
    wanted = torch.searchsorted(cumulative, uniforms[:, None] * cumulative[:, -1:], right=True)[:, 0]
    last = (numbers > 0).double().mul(torch.arange(size)).argmax(1)
    assert torch.equal(inverse_cdf(numbers, uniforms), wanted.minimum(last))


def test_forbidden_tokens_have_no_weight() -> None:
    """They are out before the temperature; where they took all but nothing of the mass, the others share it."""
    log_probs = torch.tensor([[0.0, -300.0, -300.0, -torch.inf]])
    forbidden = torch.tensor([0])
    found = weights(log_probs, forbidden, SampleOptions())
    assert found[0].tolist() == pytest.approx([0, 0.5, 0.5, 0])
    shared = weights(torch.tensor([[0.5, 0.3, 0.2]]).log(), torch.tensor([1]), SampleOptions())
    assert shared[0].tolist() == pytest.approx([0.5, 0, 0.2])
