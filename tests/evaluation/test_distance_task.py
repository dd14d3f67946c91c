"""The distance task: rankings of consequences and their accuracy."""

import numpy as np
import pytest

from lmkit import api
from lmkit.corpus.distances import answers, items
from lmkit.evaluation.distance_task import Ranking, chance, rank


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
