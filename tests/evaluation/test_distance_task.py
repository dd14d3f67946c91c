"""The distance task: rankings of consequences and their accuracy."""

import math
from fractions import Fraction

import numpy as np
import pytest

from lmkit import api
from lmkit.corpus.distances import answers, items
from lmkit.evaluation.distance_task import Ranking, at_least, chance, rank


def test_ranking_of_the_distance_task(models: dict[str, api.Model]) -> None:
    """A model ranks every consequence; one that knows the words no better than chance is near it or below."""
    model = models["ngram"]
    sentences = list(items("zh", 1, 24))
    (ranking,) = rank(model.directions, model.tokenizer, "zh", sentences).values()
    assert ranking.best.max() < len(answers("zh"))
    (row,) = ranking.accuracy("clauses")
    assert row["items"] == 24
    assert row["words"] == pytest.approx(np.mean([item.words for item in sentences]))
    assert sum(by["items"] for by in ranking.accuracy("words")) == 24
    assert chance("zh") == pytest.approx(100 / 24)


def test_accuracy_by_hand() -> None:
    """Percent by distance, in ascending order, for the right answer and for the one without a control."""
    ranking = Ranking(
        clauses=np.array([2, 1, 2, 2]),
        words=np.array([9, 4, 7, 8]),
        answer=np.array([0, 1, 2, 3]),
        original=np.array([5, 1, 5, 5]),
        best=np.array([0, 1, 5, 4]),
    )
    one, two = ranking.accuracy("clauses")
    assert one == {"distance": 1, "words": 4.0, "items": 1, "accuracy": 100.0, "original": 100.0}
    assert two == pytest.approx(
        {"distance": 2, "words": 8.0, "items": 3, "accuracy": 100 / 3, "original": 100 / 3}
    )


def ranking(right: list[int], items: int) -> Ranking:
    """Some right answers to `items` sentences of 0, 1, 2 ... clauses."""
    best = np.concatenate([np.arange(items) < count for count in right])
    clauses = np.repeat(np.arange(len(right)), items)
    return Ranking(clauses, clauses, np.ones(len(best), int), np.ones(len(best), int), best.astype(int))


@pytest.mark.parametrize(
    ("right", "items", "wanted"),
    [
        ([4, 4, 4], 100, False),  # as a guess
        ([9, 8, 2, 5], 100, False),  # an excess that chance explains
        ([100, 4, 4], 100, True),  # an n-gram that sees the cause at one distance
        ([20, *([4] * 200)], 100, True),  # significant at one distance, though not over all
        ([9] * 20, 100, True),  # significant over all, though at no distance
        ([2, 2], 2, True),
        ([2, 0], 2, None),
    ],
)
def test_what_is_learned(right: list[int], items: int, wanted: bool | None) -> None:
    """Better than guessing at one distance or over all is learned; too few sentences decide nothing."""
    assert ranking(right, items).learned(1 / 24) is wanted


@pytest.mark.parametrize(("right", "items"), [(0, 5), (1, 5), (3, 5), (12, 100), (100, 100)])
def test_the_tail_of_the_binomial_distribution(right: int, items: int) -> None:
    """The sum of the probabilities of `right` to `items` hits, in exact fractions."""
    guess = Fraction(1, 24)
    exact = sum(
        math.comb(items, hits) * guess**hits * (1 - guess) ** (items - hits)
        for hits in range(right, items + 1)
    )
    assert at_least(right, items, float(guess)) == pytest.approx(float(exact), rel=1e-9)
