"""Heads: the units of a cell in groups of equal size."""

import math

from lmkit.errors import UsageError

DEFAULT_HEADS = 4
"""As in the xLSTM's paper."""


def count_heads(hidden_size: int, num_heads: int | None) -> int:
    """The number of heads: the given one, or the largest of DEFAULT_HEADS that divides; UsageError if it does not."""
    if num_heads is None:
        return math.gcd(hidden_size, DEFAULT_HEADS)
    if hidden_size % num_heads:
        raise UsageError(
            f"{hidden_size} units are not divisible by {num_heads} heads: give --hidden-size "
            f"{math.ceil(hidden_size / num_heads) * num_heads}, or another --num-heads"
        )
    return num_heads
