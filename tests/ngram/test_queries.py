"""Queries: states, scores, next words and the best of them, against the definition of backoff in plain Python."""

import contextlib
import logging
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lmkit_ngram import queries
from lmkit_ngram.model import NgramModel
from lmkit_ngram.table import ARRAYS, NgramTable

from lmkit.errors import ModelError

Fit = Callable[..., NgramModel]
Gram = tuple[int, ...]

SIZE = 6
SMOOTHINGS = ("modified-kneser-ney", "witten-bell", "add-k", "mle")
lines = st.lists(st.lists(st.integers(1, SIZE - 1), max_size=8), min_size=1, max_size=9)
small = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(autouse=True)
def silent(caplog: pytest.LogCaptureFixture) -> None:
    """Small texts give no discounts, with a warning each time."""
    caplog.set_level(logging.ERROR)


class Plain:
    """The n-grams of a table as dicts, and backoff as its definition has it."""

    def __init__(self, table: NgramTable) -> None:
        self.order, self.start = table.order, table.start
        grams: dict[int, Gram] = {i: (i,) for i in range(table.vocab_size + 1)}
        for parent in range(table.contexts):
            for child in range(table.children[parent], table.children[parent + 1]):
                grams[child] = (*grams[parent], int(table.words[child]))
        self.ids = {gram: i for i, gram in grams.items()}
        self.log_probs = {gram: table.log_probs[i] for i, gram in grams.items()}
        self.backoffs = {gram: table.backoffs[i] for i, gram in grams.items() if i < table.contexts}

    def score(self, context: Gram, word: int) -> np.float32:
        """log10 p(word | context), added up as KenLM adds."""
        context = context[max(0, len(context) - self.order + 1) :] if self.order > 1 else ()
        if (*context, word) in self.log_probs:
            return self.log_probs[*context, word]
        return self.score(context[1:], word) + self.backoffs.get(context, np.float32(0))

    def state(self, context: Gram) -> int:
        """The id of the longest end of the context that can be one."""
        for first in range(len(context)):
            if context[first:] in self.backoffs:
                return self.ids[context[first:]]
        return -1

    def rows(self, context: Gram, size: int) -> np.ndarray:
        """(size,) natural log-probabilities."""
        return np.array([self.score(context, word) for word in range(size)]) * math.log(10)


@given(lines, lines, st.integers(1, 5), st.sampled_from(SMOOTHINGS), st.sampled_from(["0", "0 1"]))
@small
def test_walk_is_backoff_by_definition(
    fit: Fit, train: list[list[int]], heard: list[list[int]], order: int, smoothing: str, prune: str
) -> None:
    """Each score and state is that of the definition, to the last bit; so are the rows, to rounding."""
    prune = "0" if order == 1 else prune
    model = fit(train, SIZE, order=order, smoothing=smoothing, prune=prune)
    plain = Plain(model.table)
    for line in heard:
        context: Gram = (model.table.start,)
        state = model.initial_state(1)
        for word in [*line, 0]:
            np.testing.assert_allclose(
                model.next_log_probs(state)[0].numpy(), plain.rows(context, SIZE), rtol=1e-5, atol=1e-5
            )
            log_prob, state = model.log_probs(torch.tensor([[word]]), state)
            assert log_prob[0, 0] == np.float32(plain.score(context, word) * math.log(10))
            context = (*context, word) if word else (model.table.start,)
            assert state.tolist() == [plain.state(context)]


@given(lines, st.integers(1, 5), st.sampled_from(SMOOTHINGS[:3]), st.sampled_from(["0", "0 1"]))
@small
def test_every_row_sums_to_one(
    fit: Fit, train: list[list[int]], order: int, smoothing: str, prune: str
) -> None:
    """After every context of a normalised model the next words' probabilities sum to one."""
    model = fit(train, SIZE, order=order, smoothing=smoothing, prune="0" if order == 1 else prune)
    states = torch.arange(-1, model.table.contexts)
    sums = model.next_log_probs(states).double().exp().sum(1)
    assert (sums - 1).abs().max() < 1e-5


@given(lines, st.integers(1, 4), st.sampled_from(SMOOTHINGS), st.integers(1, SIZE + 2))
@small
def test_top_k_is_the_sorted_row(
    fit: Fit, train: list[list[int]], order: int, smoothing: str, k: int
) -> None:
    """The best next words are those of the whole row, the lower id first among equals."""
    model = fit(train, SIZE, order=order, smoothing=smoothing)
    states = torch.arange(-1, model.table.contexts)
    rows = model.next_log_probs(states).numpy()
    log_probs, words = model.top_k(states, k)
    assert words.shape == (len(states), min(k, SIZE))
    for row, found, scores in zip(rows, words.numpy(), log_probs.numpy(), strict=True):
        np.testing.assert_array_equal(row[found], scores)
        np.testing.assert_array_equal(found, np.lexsort((np.arange(SIZE), -row))[: len(found)])


def test_rows_have_no_nan_where_probabilities_are_zero(fit: Fit) -> None:
    """Maximum likelihood has zeros: -inf, never NaN, and a row of a context still sums to one."""
    model = fit([[2, 3], [2, 4], [3]], SIZE, order=3, smoothing="mle")
    rows = model.next_log_probs(torch.arange(-1, model.table.contexts)).double()
    assert rows.isinf().any()
    assert not rows.isnan().any()
    assert (rows.exp().sum(1) - 1).abs().max() < 1e-5
    log_probs, _ = model.log_probs(torch.tensor([[5, 5, 2, 3]]), model.initial_state(1))
    assert not log_probs.isnan().any()


def test_a_line_end_begins_a_new_line(fit: Fit) -> None:
    """After `</s>` the state is that after `<s>`; where order is 1 no state knows anything."""
    for order, wanted in ((3, SIZE), (1, -1)):
        model = fit([[2, 3], [3]], SIZE, order=order)
        state = model.advance(torch.tensor([0]), model.initial_state(1))
        assert state.tolist() == model.initial_state(1).tolist() == [wanted]


def test_states_of_another_model_are_refused(fit: Fit) -> None:
    """A state is an id of the model's own contexts; others are not followed."""
    model = fit([[2, 3], [3]], SIZE, order=2)
    for state in (-2, model.table.contexts, 1 << 40):
        with pytest.raises(ModelError, match="damaged"):
            model.next_log_probs(torch.tensor([state]))


def test_kernels_take_writable_and_mapped_arrays_alike(fit: Fit) -> None:
    """A kernel is compiled once: arrays that were counted and arrays that are mapped have one type for it."""
    model = fit([[2, 3], [3]], SIZE, order=2)
    model.next_log_probs(model.initial_state(1))
    compiled = len(queries.fill_distributions.signatures)  # pyright: ignore[reportFunctionMemberAccess]
    for name in ARRAYS:
        getattr(model.table, name).flags.writeable = False
    again = NgramModel.from_table(model.options, model.vocabulary, model.stored)
    again.next_log_probs(again.initial_state(1))
    assert len(queries.fill_distributions.signatures) == compiled  # pyright: ignore[reportFunctionMemberAccess]


NOISE = st.lists(
    st.tuples(st.sampled_from(ARRAYS), st.integers(0, 10**6), st.integers(-(2**31), 2**31 - 1)),
    min_size=1,
    max_size=6,
)


@given(lines, st.integers(1, 4), NOISE, st.booleans())
@settings(small, max_examples=150)
def test_damage_never_crashes(
    fit: Fit, train: list[list[int]], order: int, noise: list[tuple[str, int, int]], near: bool
) -> None:
    """Any numbers in the arrays give figures or a ModelError, and every query ends."""
    model = fit(train, SIZE, order=order)
    total = model.table.total
    for name, place, value in noise:
        array = getattr(model.table, name)
        if len(array):
            array.view(np.int32)[place % len(array)] = value % (total + 2) - 1 if near else value
    states = torch.arange(-1, model.table.contexts)
    ids = torch.randint(SIZE, (len(states), 9), generator=torch.Generator().manual_seed(0))
    stream = ids.numpy().astype(np.int32).ravel()
    calls = (
        lambda: model.next_log_probs(states),
        lambda: model.log_probs(ids, states),
        lambda: model.top_k(states, 3),
        lambda: model.line_log_probs(stream),
        lambda: [model.line_log_probs(stream) for _ in range(9)],
    )
    for call in calls:
        with contextlib.suppress(ModelError):
            call()
