"""Defaults of a classifier's settings depend on whether it begins with a trained model."""

from lmkit.classification.settings import settings_of


def test_defaults_with_and_without_a_run() -> None:
    """From scratch a rate of 0.002 and the last state, from a run 0.01 (Howard and Ruder, 2018) and three poolings."""
    for init_from, rate, pool in ((None, 0.002, "last"), ("runs/lm", 0.01, "concat")):
        options = settings_of({}, init_from).options
        assert (options.learning_rate, options.pool) == (rate, pool)
        chosen = settings_of({"train": {"learning_rate": 0.5, "pool": "mean"}}, init_from).options
        assert (chosen.learning_rate, chosen.pool) == (0.5, "mean")
