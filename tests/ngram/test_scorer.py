"""The batch scorer gives what the walk gives, to rounding, whatever table, text and threads."""

import logging
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lmkit_ngram import queries, scorer
from lmkit_ngram.intrinsics import prefetch
from lmkit_ngram.model import NgramModel
from lmkit_ngram.scorer import StreamScorer

from lmkit.jit import kernel

Fit = Callable[..., NgramModel]

SIZE = 6
lines = st.lists(st.lists(st.integers(1, SIZE - 1), max_size=8), min_size=1, max_size=9)
small = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(autouse=True)
def silent(caplog: pytest.LogCaptureFixture) -> None:
    """Small texts give no discounts, with a warning each time."""
    caplog.set_level(logging.ERROR)


def stream(found: list[list[int]]) -> np.ndarray:
    return np.array([word for line in found for word in (*line, 0)], np.int32)


def walked(model: NgramModel, ids: np.ndarray) -> np.ndarray:
    """(tokens,) float32 log10 by the walk alone."""
    scores = np.empty((1, len(ids)), np.float32)
    grams = queries.as_grams(model.table, 0)
    reset, states = np.zeros((1, len(ids)), np.bool_), np.array([grams.start])
    assert queries.score_rows(grams, ids[None], reset, states, scores) == queries.SOUND
    return scores[0]


def scored(batches: StreamScorer, ids: np.ndarray, threads: int = 1) -> np.ndarray:
    """(tokens,) float32 log10 by the batch scorer."""
    scores = batches.score(ids, threads)
    assert scores is not None
    return scores


@given(lines, lines, st.integers(1, 5), st.sampled_from(["modified-kneser-ney", "stupid-backoff", "mle"]))
@small
def test_hash_table_scores_what_the_walk_scores(
    fit: Fit, train: list[list[int]], heard: list[list[int]], order: int, smoothing: str
) -> None:
    """Both give the same bits, for a text of any length, and the change from one to the other is not seen."""
    model = fit(train, SIZE, order=order, smoothing=smoothing, prune="0 1" if order > 1 else "0")
    ids = stream(heard * 3)
    batches = StreamScorer(queries.as_grams(model.table, 0))
    for _ in range(20):
        np.testing.assert_allclose(scored(batches, ids), walked(model, ids), rtol=0, atol=2e-6)
    assert batches.table_built


@given(lines, st.lists(st.integers(1, SIZE - 1), max_size=70), lines, st.integers(1, 5))
@small
def test_lanes_within_a_line_change_no_bit(
    fit: Fit, train: list[list[int]], long_line: list[int], more: list[list[int]], order: int
) -> None:
    """A lane that begins within a line finds the state of a single walk: however many lanes, equal bits."""
    model = fit(train, SIZE, order=order, prune="0 1" if order > 1 else "0")
    batches = StreamScorer(queries.as_grams(model.table, 0))
    while not batches.table_built:
        batches.score(stream([[2] * 100]))
    ids = stream([long_line, *more])
    found = {}
    for piece in (1, 3, 1000):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(scorer, "PIECE", piece)
            found[piece] = scored(batches, ids)
    assert np.array_equal(found[1], found[1000])
    assert np.array_equal(found[3], found[1000])
    np.testing.assert_allclose(found[1000], walked(model, ids), rtol=0, atol=2e-6)


def test_threads_score_what_one_scores(fit: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    """The text is cut where lines end, however many threads there are and wherever the cuts would fall."""
    rng = np.random.default_rng(0)
    model = fit([rng.integers(1, SIZE, 7).tolist() for _ in range(30)], SIZE, order=3)
    monkeypatch.setattr(scorer, "LEAST", 10)
    for length in (0, 1, 400):
        ids = rng.integers(0, SIZE, length).astype(np.int32)
        batches = StreamScorer(queries.as_grams(model.table, 0))
        for threads in (1, 2, 5, 5):
            np.testing.assert_allclose(scored(batches, ids, threads), walked(model, ids), rtol=0, atol=2e-6)


def test_table_is_built_when_it_pays(fit: Fit) -> None:
    """A few words are walked; the hash table is made once enough words have been scored to pay for it."""
    model = fit([[2, 3, 4, 2, 5], [3, 3, 2]], SIZE, order=4)
    batches = StreamScorer(queries.as_grams(model.table, 0))
    batches.score(stream([[2]]))
    assert not batches.table_built
    for _ in range(model.table.total):
        batches.score(stream([[2]]))
    assert batches.table_built


def test_prefetch_changes_nothing() -> None:
    """Memory fetched ahead is as it was, and no index is wrong, one far outside the array neither."""

    @kernel
    def fetch(counts: np.ndarray) -> None:
        for i in range(3):
            prefetch(counts, i + 1000)
            prefetch(counts, i)

    counts = np.arange(4, dtype=np.int32)
    fetch(counts)
    assert counts.tolist() == [0, 1, 2, 3]
