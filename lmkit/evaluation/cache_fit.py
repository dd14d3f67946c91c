"""Fit the settings of a continuous cache on held-out text: a grid of thetas, and EM for the weights with each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lmkit.adaptation.options import CacheOptions
from lmkit.contracts import LanguageModel, Tokenizer
from lmkit.corpus.readers import Line
from lmkit.evaluation.interpolation import em
from lmkit.kinds import is_cached
from lmkit.scoring.measured_lines import measured_lines
from lmkit.scoring.stream import Measure
from lmkit.states import State

if TYPE_CHECKING:
    from torch import Tensor

THETAS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0)
"""The thetas to try. The best one depends on the length of a model's features, so the grid is wide."""


class Columns(Measure):
    """The log-probability of the model inside a CachedModel, then that of its cache with each theta."""

    def __init__(self, thetas: Sequence[float]) -> None:
        self.thetas = thetas
        self.names = ("log_prob", *(f"cache {theta}" for theta in thetas))

    def __call__(self, model: LanguageModel, ids: Tensor, state: State) -> tuple[Tensor, State]:
        import torch

        assert is_cached(model)
        own, cached, _, state = model.components(ids, state, self.thetas)
        return torch.stack([own, *(column.to(own) for column in cached)], -1), state


def columns_of(
    model: LanguageModel, size: int, thetas: Sequence[float], tokenizer: Tokenizer, text: Iterable[Line]
) -> np.ndarray:
    """(1 + thetas, tokens) float64 log-probabilities of the model, then of its cache; NaN where that is empty."""
    from lmkit.adaptation.cache import CachedModel

    cached = CachedModel(model, CacheOptions(size))
    tables = measured_lines(cached, tokenizer, text, measure=Columns(thetas))
    return np.concatenate([figures for _, _, figures in tables]).T


class CacheFit(NamedTuple):
    """The best theta, the weights of the models and the cache, which is last, and the log-probability of a token.

    steps: of EM, with the best theta.
    """

    theta: float
    weights: np.ndarray
    mean: float
    steps: int


def fit_cache(models: np.ndarray, cached: np.ndarray, thetas: Sequence[float]) -> CacheFit:
    """The best settings for log-probabilities of models (models, tokens), and of a cache (thetas, tokens).

    Tokens for which the cache is empty have no say in the weights; there, the models have all the weight.
    """
    filled = ~np.isnan(cached[0])
    if not filled.any():  # a text of a single token
        filled[:] = True
        cached = np.full_like(cached, -np.inf)
    fits = []
    for theta, column in zip(thetas, cached, strict=True):
        *_, (weights, _) = steps = list(em(np.vstack([models, column])[:, filled]))
        weights = weights / weights.sum()
        with np.errstate(divide="ignore"):
            mixed = np.logaddexp.reduce(models + np.log(weights[:-1])[:, None])
            # An empty cache is like one without hits here.
            together = np.logaddexp(mixed, np.where(filled, column, -np.inf) + np.log(weights[-1]))
        alone = mixed - np.log1p(-weights[-1])
        fits.append(CacheFit(theta, weights, float(np.where(filled, together, alone).mean()), len(steps)))
    return max(fits, key=lambda fit: fit.mean)
