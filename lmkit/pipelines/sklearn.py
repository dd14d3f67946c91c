"""For scikit-learn: a transformer of sentences into vectors of an encoder, and a classifier of texts."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from lmkit.classification.classifier import classify
from lmkit.corpus.word_lists import Words
from lmkit.errors import DataError, UsageError
from lmkit.pipelines import needs, run_fingerprint, shared_model

needs("sklearn", "sklearn")

from sklearn.base import (  # noqa: E402 - after the check that scikit-learn is installed
    BaseEstimator,
    ClassifierMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
)
from sklearn.utils import Tags  # noqa: E402
from sklearn.utils.multiclass import check_classification_targets  # noqa: E402
from sklearn.utils.validation import check_is_fitted, column_or_1d  # noqa: E402

__all__ = ["EmbeddingTransformer", "TextClassifier"]

_FINGERPRINT = "run_fingerprint"
"""The name of the fingerprint in a pickle."""


class _HoldsRun(BaseEstimator):
    """Pickle an estimator with the fingerprint of the run whose path it holds.

    joblib's `Memory`, and so `Pipeline(memory=...)`, hashes pickles: without it, a result would be taken from the
    cache after the run was trained again in its directory.
    """

    _run_parameter = "run"
    """The parameter with the path."""

    def __getstate__(self) -> dict[str, Any]:
        state: Any = super().__getstate__()
        run = getattr(self, self._run_parameter)
        return {**state, _FINGERPRINT: None if run is None else run_fingerprint(run)}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        super().__setstate__({name: value for name, value in state.items() if name != _FINGERPRINT})


class EmbeddingTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, _HoldsRun):
    """Turn sentences into one vector each with the encoder in a run: `EmbeddingTransformer("runs/elmo")`.

    run: the directory of a run; a recurrent causal model also serves as an encoder.
    layer: "mix", "top", a number from 0 (the vectors without context), or "all" for all layers, concatenated.
    pool: how to reduce the vectors of a sentence's tokens to one: "mean", "max", "first" or "last"; a sentence
    without tokens gets zeros. separator: between the words of a list, as in `Model.embed`. device: as in
    `lmkit.load`.

    `transform` works without `fit`. The estimator holds the path and no weights, so that clones, pickles and
    joblib's workers are light; each process loads a run once.
    """

    def __init__(
        self,
        run: str | Path,
        *,
        layer: str | int = "mix",
        pool: str = "mean",
        device: str = "auto",
        separator: str | None = None,
    ) -> None:
        self.run = run
        self.layer = layer
        self.pool = pool
        self.device = device
        self.separator = separator

    def fit(self, X: Iterable[str] | Iterable[Sequence[str]], y: Any = None) -> Self:  # noqa: N803 - scikit-learn's
        """Check the settings; X and y are ignored. Raises UsageError, ModelError, PluginError."""
        self._check_pool()
        shared_model(self.run, self.device).embed([], layer=self.layer, pool=self.pool)
        return self

    def transform(self, X: Iterable[str] | Iterable[Sequence[str]]) -> np.ndarray:  # noqa: N803
        """(sentences, features) float32 of X: strings, split by the run's tokenizer, or lists of words.

        Raises DataError for anything else, and what `fit` raises.
        """
        self._check_pool()
        sentences = checked(X)
        vectors = shared_model(self.run, self.device).embed(
            sentences, layer=self.layer, pool=self.pool, separator=self.separator
        )
        rows = np.empty((len(sentences), self._n_features_out), np.float32)
        for row, vector in zip(rows, vectors, strict=True):
            row[:] = vector.reshape(-1)
        return rows

    @property
    def _n_features_out(self) -> int:
        """The number of features for `get_feature_names_out`."""
        encoder = shared_model(self.run, self.device).encoder
        return encoder.width * (encoder.num_layers if self.layer == "all" else 1)

    def _check_pool(self) -> None:
        if self.pool == "none":
            raise UsageError(
                "pool='none': scikit-learn needs one row per sentence; use mean, max, first or last"
            )

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        return tags


class TextClassifier(ClassifierMixin, _HoldsRun):
    """A classifier of texts, trained from scratch or from a run: `TextClassifier(model="gru", max_epochs=5)`.

    model, tokenizer, init_from: as in `lmkit.classify`. pool, directions, max_epochs, batch_size, learning_rate, seed,
    device: flags of `lmkit classify`. options: the other flags by name, such as {"hidden_size": 128}. X is a list of
    strings; a tenth of the texts that `fit` gets chooses the best epoch. A fitted estimator can be pickled: the
    pickle holds the files of its run.
    """

    _run_parameter = "init_from"

    def __init__(
        self,
        *,
        model: str | Mapping[str, Any] | None = None,
        tokenizer: str | Mapping[str, Any] | None = None,
        init_from: str | Path | None = None,
        pool: str | None = None,
        directions: str = "forward",
        max_epochs: int = 10,
        batch_size: int = 32,
        learning_rate: float | None = None,
        seed: int = 0,
        device: str = "auto",
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.init_from = init_from
        self.pool = pool
        self.directions = directions
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.seed = seed
        self.device = device
        self.options = options

    def fit(self, X: Iterable[str], y: Any) -> Self:  # noqa: N803 - scikit-learn's
        """Train on the texts X and their classes y. Raises UsageError, DataError, ModelError, PluginError."""
        texts = strings(X)
        if y is None:
            raise UsageError("TextClassifier requires y to be passed, but the target y is None")
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        if len(texts) != len(y):
            raise DataError(
                f"X has {len(texts)} texts and y has {len(y)} classes: give one class for each text"
            )
        self.classes_, places = np.unique(y, return_inverse=True)
        named = (
            "model", "tokenizer", "init_from", "pool", "directions", "max_epochs", "batch_size", "learning_rate",
            "seed", "device",
        )  # fmt: skip
        settings = {name: value for name in named if (value := getattr(self, name)) is not None}
        pairs = [(text, str(place)) for text, place in zip(texts, places, strict=True)]
        self.classifier_ = classify(pairs, **settings, **(self.options or {}))
        return self

    def predict_proba(self, X: Iterable[str]) -> np.ndarray:  # noqa: N803
        """(texts, classes) probabilities, in the order of `classes_`."""
        check_is_fitted(self)
        found = self.classifier_.predict_proba(strings(X))
        # The classifier's labels are the places of the classes.
        return found[:, [self.classifier_.labels.index(str(place)) for place in range(len(self.classes_))]]

    def predict(self, X: Iterable[str]) -> np.ndarray:  # noqa: N803
        """(texts,) the most probable class of each text."""
        check_is_fitted(self)
        return self.classes_[self.predict_proba(X).argmax(1)]

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        return tags


def strings(texts: Any) -> list[str]:
    """The texts as a list; DataError for rows that are not strings."""
    rows = checked(texts)
    odd = next((place for place, row in enumerate(rows) if not isinstance(row, str)), None)
    if odd is not None:
        raise DataError(f"X[{odd}] is a list: TextClassifier needs strings")
    return [str(row) for row in rows]


def checked(sentences: Any) -> list[Any]:
    """The sentences as a list of strings or of lists, which `embed` checks; DataError for other types.

    A data frame and a two-dimensional array are refused, since iterating over them gives column names and cells.
    """
    if isinstance(sentences, str) or not isinstance(sentences, Iterable):
        raise DataError(f"X is {_kind(sentences)}: give a list of strings or of lists of words")
    dimensions = getattr(sentences, "ndim", 1)
    if dimensions != 1:
        raise DataError(
            f"X has {dimensions} dimensions: give strings or lists of words, such as one column of a frame "
            "(in a ColumnTransformer 'text', not ['text'])"
        )
    return [row if isinstance(row, str) else _words(row, place) for place, row in enumerate(sentences)]


def _words(row: Any, place: int) -> Sequence[Any]:
    """A row other than a string as a list; DataError if it cannot be one, such as a missing value."""
    if not isinstance(row, Iterable):
        raise DataError(f"X[{place}] is {_kind(row)}: give strings or lists of words")
    return row if isinstance(row, Words) else list(row)


def _kind(value: Any) -> str:
    return f"of the type {type(value).__name__}"
