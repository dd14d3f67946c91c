"""The sizes of layers: given as one number or a list, or computed from a number of parameters."""

import logging
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from lmkit.errors import UsageError

if TYPE_CHECKING:
    from lmkit.neural.language_model import NeuralLanguageModel

T = TypeVar("T")

log = logging.getLogger(__name__)

DEFAULT_HIDDEN_SIZE = 256
"""Default number of units of a layer."""
LARGEST_HIDDEN_SIZE = 65536
"""The largest number of units that an option of a layer should allow."""
MOST_LAYERS = 256
"""The largest number of layers that an option should allow."""
UNITS = {"": 1, "k": 1_000, "m": 1_000_000, "g": 1_000_000_000, "b": 1_000_000_000}


def per_layer(
    num_layers: int | None, hidden_size: int | Sequence[int], cells: Sequence[T]
) -> tuple[list[int], list[T]]:
    """The hidden size and the cell of each layer, from the given lists; UsageError if their lengths disagree."""
    sizes = [hidden_size] if isinstance(hidden_size, int) else list(hidden_size)
    count = num_layers or max(len(sizes), len(cells))
    if count > MOST_LAYERS:
        raise UsageError(f"{count} layers are too many: give at most {MOST_LAYERS}")
    for name, values in (("hidden sizes", sizes), ("cells", cells)):
        if len(values) not in (1, count):
            raise UsageError(
                f"{len(values)} {name} are listed for {count} layers: give one for all, or one for each"
            )
    return sizes * (count // len(sizes)), list(cells) * (count // len(cells))


def parse_count(text: str) -> int:
    """20000000 from "20M", 500000 from "500k", 1500000 from "1.5M"; UsageError for anything else."""
    found = re.fullmatch(r"\s*(\d[\d_]*(?:\.\d+)?)\s*([kmgb]?)\s*", text.lower())
    count = round(float(found[1]) * UNITS[found[2]]) if found else 0
    if count < 1:
        raise UsageError(
            f"--params {text!r} is not a number of parameters: write 20M, 1.5M, 500k or 20000000"
        )
    return count


def solve_hidden_size(wanted: int, count: Callable[[int], int]) -> int:
    """The hidden size whose number of parameters, `count`, is closest to `wanted`, by bisection.

    count: must be non-decreasing. Raises UsageError when one unit is too many, or the largest size too few.
    """
    low, high = 1, LARGEST_HIDDEN_SIZE
    least, most = count(low), count(high)
    if wanted < least:
        raise UsageError(
            f"--params {wanted:,} is too few: a hidden size of 1 has {least:,} already, most of them in the "
            "vocabulary; give more, a smaller vocabulary or another --embedding-size"
        )
    if wanted > most:
        raise UsageError(
            f"--params {wanted:,} is too many: a hidden size of {high:,} has {most:,}; give fewer"
        )
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) <= wanted else (low, middle)
    return min(low, high, key=lambda size: abs(count(size) - wanted))


def hidden_size_for(
    params: str, given: int | Sequence[int] | None, make: Callable[[int], "NeuralLanguageModel"]
) -> int:
    """The hidden size that gives a model about `params` parameters, such as "20M".

    given: an explicit hidden size, which is a UsageError. make: creates the model of a hidden size, here without
    memory.
    """
    if given is not None:
        raise UsageError("--params and --hidden-size both set the size of the layers; leave one out")
    import torch  # here, since dataclasses of options import this module

    def count(hidden_size: int) -> int:
        with torch.device("meta"):
            return make(hidden_size).parameter_count()

    found = solve_hidden_size(parse_count(params), count)
    log.info("--params %s: a hidden size of %d, %s parameters", params, found, f"{count(found):,}")
    return found
