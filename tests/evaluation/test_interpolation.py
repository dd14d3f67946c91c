"""Weights of an interpolation by EM."""

import itertools

import numpy as np
import pytest

from lmkit.errors import DataError
from lmkit.evaluation.interpolation import em


def test_em_finds_the_maximum_of_a_grid() -> None:
    """For two models the last weights are as good as the best of a fine grid, and no step lowers the figure."""
    probabilities = np.random.default_rng(0).uniform(0.01, 1, (2, 50))
    steps = list(em(np.log(probabilities)))
    means = [mean for _, mean in steps]
    assert all(after >= before - 1e-12 for before, after in itertools.pairwise(means))
    grid = np.linspace(0, 1, 2001)[:, None]
    best = np.log(grid * probabilities[0] + (1 - grid) * probabilities[1]).mean(1).max()
    assert means[-1] == pytest.approx(best, abs=1e-5)
    assert steps[0][0].tolist() == [0.5, 0.5]
    assert steps[-1][0].sum() == pytest.approx(1)


def test_a_token_that_no_model_expects() -> None:
    """A zero of one model is allowed, of all models an error."""
    assert np.isfinite(list(em(np.log([[0.5, 1e-300], [0.5, 0.5]])))[-1][1])
    with pytest.raises(DataError, match="every model gives some token"):
        list(em(np.array([[-np.inf, -1.0], [-np.inf, -1.0]])))
