"""Perplexity, which several reports share."""

import math

LARGEST_EXPONENT = 700.0
"""exp of more than about 709 overflows."""


def perplexity(nats: float) -> float:
    """exp of the mean loss in nats a token; infinite if it overflows."""
    return math.exp(nats) if nats < LARGEST_EXPONENT else math.inf
