"""Perplexities among the findings of `lmkit context`."""

import math

import numpy as np
import pytest

from lmkit.evaluation.context import Curve, ShuffledCurve
from lmkit.evaluation.findings import Findings

CURVE = Curve(np.zeros(1), np.zeros(1), 0.0, 1, 1)


def test_perplexity_is_withheld_without_probabilities() -> None:
    """e to the loss; None for infinite losses, an overflow, and scores that do not sum to one."""
    assert Findings("v", True, CURVE).perplexity(math.log(20)) == pytest.approx(20)
    assert Findings("v", True, CURVE).perplexity(math.inf) is None
    assert Findings("v", True, CURVE).perplexity(800.0) is None
    assert Findings("v", False, CURVE).perplexity(1.0) is None


def test_increase_of_the_perplexity() -> None:
    """From 4 to 8 and 12: by 4 and 8; None where the shuffled loss is infinite."""
    nats = np.array([math.log(2), math.log(3), math.inf])
    shuffled = ShuffledCurve((1, 2, 3), nats, np.zeros(3), math.log(4), 5, 1)
    found = Findings("v", True, CURVE, shuffled).increase
    assert found[:2] == pytest.approx([4, 8])
    assert found[2] is None
    assert Findings("v", False, CURVE, shuffled).increase == [None] * 3
