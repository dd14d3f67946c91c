"""The distance task: rankings of consequences and their accuracy."""

import numpy as np
import pytest

from lmkit import api
from lmkit.corpus.distances import answers, items
from lmkit.evaluation.distance_task import chance, rank


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
