"""Read the state of a training from the JSON of a checkpoint, which anybody may have edited."""

import math
from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeGuard

from lmkit.errors import CheckpointError
from lmkit.training.checkpoint import Snapshot
from lmkit.training.early_stopping import TrainState


def check_tables(saved: Snapshot) -> None:
    """Raise CheckpointError unless the facts of a checkpoint have the tables that resuming reads."""
    for name, default in (("recipe", None), ("fingerprints", None), ("machine", None), ("tiers", {})):
        if not isinstance(saved.facts.get(name, default), dict):
            raise CheckpointError(
                f"the checkpoint of step {saved.step} is damaged (no table {name}); restore it, or remove its folder "
                "to go on from the one before"
            )


def read_state(table: object, step: int, total_steps: int | None) -> TrainState:
    """The state in the table of a checkpoint; what an older version did not save has its default.

    step: of the checkpoint. total_steps: of the training, or None without a limit. Raises ValueError for values that
    no training has, CheckpointError if there are more steps than in the training.
    """
    if not isinstance(table, dict) or not table.keys() <= {field.name for field in fields(TrainState)}:
        raise ValueError("its state is not that of a training")
    for name, value in table.items():
        if not _RULES[name](value):
            raise ValueError(f"its state has {name} = {value!r}, which no training has")
    state = TrainState(
        **{**table, "best_loss": _infinite(table.get("best_loss")), "losses": tuple(table.get("losses", ()))}
    )
    earlier = (state.best_step, state.validated, state.averaged_from or 0)
    if state.step != step or max(earlier) > state.step:
        raise ValueError(f"the numbers of steps in its state contradict each other ({state.step:,} steps)")
    if total_steps is not None and state.step > total_steps:
        raise CheckpointError(
            f"the checkpoint has {state.step:,} steps, more than the {total_steps:,} of the training: give more "
            "--max-steps or --max-epochs"
        )
    return state


def _infinite(loss: float | None) -> float:
    """JSON has no infinity, the best loss before any validation."""
    return math.inf if loss is None else loss


def is_count(value: object) -> TypeGuard[int]:
    """Whether a value is a whole number of at least 0, and not a truth value."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def is_number(value: object) -> bool:
    """Whether a value is a finite number, and not a truth value."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _or_none(rule: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or rule(value)


def _at_least(least: float) -> Callable[[Any], bool]:
    return lambda value: is_number(value) and value >= least


_RULES: dict[str, Callable[[Any], bool]] = {
    "step": is_count,
    "seconds": _at_least(0),
    "cpu_seconds": _at_least(0),
    "rate_divisor": _at_least(1),
    "best_loss": _or_none(is_number),
    "best_step": is_count,
    "best_bits_per_byte": _or_none(is_number),
    "worse": is_count,
    "validated": is_count,
    "losses": lambda value: isinstance(value, (list, tuple)) and all(map(is_number, value)),
    "averaged_from": _or_none(is_count),
}
