"""Counts of n-grams of any length are those that plain Python counts in the text."""

import contextlib
import logging
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lmkit_ngram.model import NgramModel
from lmkit_ngram.table import TextIndex

from lmkit.contracts import LanguageModel
from lmkit.errors import ModelError, UsageError
from lmkit.testing.samples import random_bigram

Fit = Callable[..., NgramModel]

SIZE = 4
EOS, START = 0, SIZE
lines = st.lists(st.lists(st.integers(1, SIZE - 1), max_size=9), min_size=1, max_size=9)
small = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(autouse=True)
def silent(caplog: pytest.LogCaptureFixture) -> None:
    """Small texts give no discounts, with a warning each time."""
    caplog.set_level(logging.ERROR)


def counted(train: list[list[int]], ids: list[int]) -> int:
    """By looking at every place of every line."""
    whole = [[START, *line, EOS] for line in train]
    return sum(line[i : i + len(ids)] == ids for line in whole for i in range(len(line)))


@given(lines, st.integers(1, 5), st.data())
@small
def test_counts_of_substrings(fit: Fit, train: list[list[int]], order: int, data: st.DataObject) -> None:
    """Any stretch of a line, shorter or longer than the model's order, with `<s>` and `</s>` or without."""
    model = fit(train, SIZE, order=order)
    for line in train:
        whole = [START, *line, EOS]
        first = data.draw(st.integers(0, len(whole) - 1))
        ids = whole[first : data.draw(st.integers(first + 1, len(whole)))]
        assert model.count(ids) == counted(train, ids) > 0


@given(lines, st.integers(1, 5), st.lists(st.integers(0, SIZE), min_size=1, max_size=6))
@small
def test_counts_of_anything(fit: Fit, train: list[list[int]], order: int, ids: list[int]) -> None:
    """Any ids in any order, even impossible ones: no n-gram crosses a line."""
    assert fit(train, SIZE, order=order).count(ids) == counted(train, ids)


@given(lines)
@small
def test_nothing_is_counted_as_the_tokens(fit: Fit, train: list[list[int]]) -> None:
    """Of no words the count is that of all tokens: what a unigram's count is a share of."""
    model = fit(train, SIZE, order=2)
    assert model.count([]) == sum(len(line) + 1 for line in train)
    assert model.count([]) == sum(model.count([word]) for word in range(SIZE))


def test_counts_need_the_text(fit: Fit) -> None:
    """Without the text, and for models that never count, the error says how to get counts."""
    with pytest.raises(ModelError, match="--store-text"):
        fit([[2, 3]], SIZE, order=2, store_text=False).count([2])
    with pytest.raises(ModelError, match="has no counts"):
        random_bigram().count([2])
    assert NgramModel.count is not LanguageModel.count


@pytest.mark.parametrize("ids", [[-1], [2, SIZE + 1], [1 << 40]])
def test_ids_outside_the_vocabulary_are_refused(fit: Fit, ids: list[int]) -> None:
    """An id of no word is a mistake, not a count of zero."""
    with pytest.raises(UsageError, match="vocabulary"):
        fit([[2, 3]], SIZE, order=2).count(ids)


@given(
    lines,
    st.lists(st.tuples(st.integers(0, 99), st.integers(-(2**31), 2**31 - 1)), min_size=1, max_size=8),
    st.lists(st.integers(1, SIZE - 1), min_size=1, max_size=6),
)
@small
def test_damage_never_crashes(
    fit: Fit, train: list[list[int]], noise: list[tuple[int, int]], ids: list[int]
) -> None:
    """Any text and positions give a count or a ModelError."""
    model = fit(train, SIZE, order=2)
    index = model.index
    assert index is not None
    model.index = TextIndex(index.text.copy(), index.positions.copy())
    for place, value in noise:
        array = (model.index.text, model.index.positions)[place % 2]
        array[place % len(array)] = value
    with contextlib.suppress(ModelError):
        assert isinstance(model.count(ids), int)
