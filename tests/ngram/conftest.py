"""Fixtures for the n-gram tests: small models of a few lines."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from lmkit_ngram.model import NgramModel
from lmkit_ngram.options import NgramOptions

from lmkit.contracts import FitContext, Vocabulary
from lmkit.corpus.store import TokenStore

Fit = Callable[..., NgramModel]


@pytest.fixture(scope="session")
def fit() -> Fit:
    """fit(lines, size, **options): a model of lines of ids 1 .. size - 1, 1 the unknown; 0 is `</s>`."""

    def make(lines: list[list[int]], size: int, **options: Any) -> NgramModel:
        vocabulary = Vocabulary(size, 0, 1, "small")
        store = TokenStore.from_lines([np.array([*line, 0], np.int32) for line in lines], vocabulary)
        model = NgramModel(NgramOptions(**options), vocabulary)
        model.fit(store, FitContext(0, lambda items, **_: items, threads=1))
        return model

    return make
