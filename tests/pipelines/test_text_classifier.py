"""TextClassifier behaves as scikit-learn's own classifiers do: clones, search, pipelines, pickles."""

import pickle
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import check_estimator

from lmkit.errors import DataError
from lmkit.pipelines.sklearn import EmbeddingTransformer, TextClassifier

TEXTS = [f"the {word} film {n}" for n in range(10) for word in ("good", "bad")]
CLASSES = np.array([1, 0] * 10)
SMALL = {"tokenizer": "word", "max_epochs": 4, "learning_rate": 0.05, "device": "cpu"}
SIZES = {"hidden_size": 8, "min_count": 1}


def test_fit_predict_and_pickle() -> None:
    """Classes keep their type and order; probabilities agree with predictions; a pickle gives the same."""
    fitted = TextClassifier(**SMALL, options=SIZES).fit(TEXTS, CLASSES)
    np.testing.assert_array_equal(fitted.classes_, [0, 1])
    rows = fitted.predict_proba(TEXTS)
    np.testing.assert_array_equal(fitted.predict(TEXTS), rows.argmax(1))
    assert fitted.score(TEXTS, CLASSES) == np.mean(rows.argmax(1) == CLASSES)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).predict_proba(TEXTS), rows)
    with pytest.raises(NotFittedError):
        TextClassifier(**SMALL).predict(TEXTS)


@pytest.mark.parametrize("estimator", [TextClassifier(), EmbeddingTransformer("runs/elmo")])
def test_checks_of_scikit_learn(estimator: TextClassifier | EmbeddingTransformer) -> None:
    """scikit-learn's own checks that apply to estimators of strings pass; most of its checks need tables of numbers."""
    results = check_estimator(estimator, on_skip=None)
    assert results
    assert {result["status"] for result in results} <= {"passed", "skipped"}


def test_search_and_pipelines() -> None:
    """It works in cross_val_score, GridSearchCV and a Pipeline, with its parameters by name."""
    estimator = TextClassifier(**SMALL, options=SIZES)
    copy = clone(estimator)
    assert isinstance(copy, TextClassifier)
    assert copy.get_params() == estimator.get_params()
    assert len(cross_val_score(estimator, TEXTS, CLASSES, cv=2)) == 2
    lower = FunctionTransformer(lambda texts: [text.lower() for text in texts])
    search = GridSearchCV(make_pipeline(lower, estimator), {"textclassifier__pool": ["last", "mean"]}, cv=2)
    assert search.fit(TEXTS, CLASSES).best_params_["textclassifier__pool"] in ("last", "mean")


def test_what_it_refuses() -> None:
    """Texts that are not strings, and lengths that differ, are clear errors."""
    wrong: list[Any] = [[["a", "list"], ["of", "words"]], "one string", [1, 2]]
    for rows in wrong:
        with pytest.raises(DataError):
            TextClassifier(**SMALL).fit(rows, [0, 1])
    with pytest.raises(DataError, match="3 texts and y has 2"):
        TextClassifier(**SMALL).fit(["a", "b", "c"], [0, 1])
