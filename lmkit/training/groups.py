"""Groups of parameters by name: their learning rates, and those that are not trained."""

import math
from collections.abc import Iterable
from fnmatch import fnmatchcase

from torch import nn

from lmkit.errors import UsageError
from lmkit.training.options import TrainOptions


def freeze(model: nn.Module, options: TrainOptions) -> None:
    """Exclude the parameters of `options.freeze` from training; UsageError if none is left."""
    for pattern in _several(options.freeze):
        for parameter in _named(model, pattern, "freeze").values():
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise UsageError("--freeze leaves no parameter to train; name fewer groups")


def rate_factors(model: nn.Module, options: TrainOptions) -> dict[str, float]:
    """The factor of the learning rate of each parameter by name; of several patterns, the last one counts."""
    factors = dict.fromkeys((name for name, _ in model.named_parameters()), 1.0)
    for entry in _several(options.rates):
        pattern, _, number = entry.partition("=")
        factor = _factor(number, entry)
        factors.update(dict.fromkeys(_named(model, pattern.strip(), "rates"), factor))
    return factors


def _several(value: str | tuple[str, ...] | None) -> Iterable[str]:
    return () if value is None else (value,) if isinstance(value, str) else value


def _factor(number: str, entry: str) -> float:
    try:
        factor = float(number)
    except ValueError:
        factor = math.nan
    if not 0 <= factor < math.inf:
        raise UsageError(f"--rates: {entry!r} is not NAME=FACTOR, as in embedding=0.3")
    return factor


def _named(model: nn.Module, pattern: str, option: str) -> dict[str, nn.Parameter]:
    """The parameters in a group or matching a pattern with `*`; UsageError without any."""
    found = {
        name: parameter
        for name, parameter in model.named_parameters()
        if f"{name}.".startswith(f"{pattern}.") or fnmatchcase(name, pattern)
    }
    if not found:
        groups = dict.fromkeys(name.rpartition(".")[0] or name for name, _ in model.named_parameters())
        raise UsageError(
            f"--{option}: the model has no parameters {pattern!r}; its groups are {', '.join(groups)}"
        )
    return found
