"""Fit the weights of a linear interpolation of models by EM on held-out text."""

from collections.abc import Iterator

import numpy as np

from lmkit.errors import DataError

ENOUGH = 1e-7
"""EM ends when a step gains less than this many bits per token."""
MOST_STEPS = 10_000


def em(log_probs: np.ndarray) -> Iterator[tuple[np.ndarray, float]]:
    """Weights (models,) and the mixture's mean log-probability in nats, after each step, starting from equal weights.

    log_probs: (models, tokens) natural log-probabilities of the same tokens. A step never lowers the figure; the
    last one is the maximum to within `ENOUGH` (Dempster et al., 1977; Jelinek and Mercer, 1980).
    Raises DataError if every model gives some token the probability zero.
    """
    models = len(log_probs)
    weights = np.full(models, 1 / models)
    before = -np.inf
    for _ in range(MOST_STEPS):
        with np.errstate(divide="ignore"):
            joint = np.log(weights)[:, None] + log_probs
        mixture = np.logaddexp.reduce(joint)
        if not np.isfinite(mixture).all():
            raise DataError(
                "every model gives some token of the text the probability 0, so no weights fit; give another text"
            )
        mean = float(mixture.mean())
        yield weights, mean
        if (mean - before) / np.log(2) < ENOUGH:
            return
        before = mean
        weights = np.exp(joint - mixture).mean(1)
