"""The state of a training; what validations change in it; its end, by a limit or by validations (early stopping)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from lmkit.training.options import TrainOptions
from lmkit.training.validation import ValidationScore


@dataclass(frozen=True)
class TrainState:
    """The state of training besides weights, optimiser and the hidden state of the streams."""

    step: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    """Processor time of the steps alone."""
    rate_divisor: float = 1.0
    best_loss: float = math.inf
    best_step: int = 0
    best_bits_per_byte: float | None = None
    worse: int = 0
    """Validations since the best one."""
    validated: int = 0
    """The step of the last validation."""
    losses: tuple[float, ...] = ()
    """Those of all validations, if averaging begins by them (`asgd_trigger`)."""
    averaged_from: int | None = None
    """The step whose validation began the averaging."""


def is_over(state: TrainState, options: TrainOptions, total_steps: int | None) -> bool:
    """Whether the limit of steps, time or validations without improvement is reached."""
    return (
        (total_steps is not None and state.step >= total_steps)
        or (options.max_time is not None and state.seconds >= options.max_time)
        or (options.max_cpu_time is not None and state.cpu_seconds >= options.max_cpu_time)
        or (options.patience is not None and state.worse >= options.patience)
    )


def after_validation(state: TrainState, options: TrainOptions, score: ValidationScore) -> TrainState:
    """The state after a validation.

    With the schedule "plateau", a worse one lowers the rate; with `asgd_trigger`, it may begin the averaging.
    """
    loss = score.loss
    if options.asgd_trigger is not None:
        if state.averaged_from is None and is_triggered(state.losses, loss, options.asgd_trigger):
            state = replace(state, averaged_from=state.step)
        state = replace(state, losses=(*state.losses, loss))
    if loss < state.best_loss:
        return replace(
            state,
            best_loss=loss,
            best_step=state.step,
            best_bits_per_byte=score.bits_per_byte,
            worse=0,
        )
    divisor = options.decay_factor if options.schedule == "plateau" else 1.0
    return replace(state, worse=state.worse + 1, rate_divisor=state.rate_divisor * divisor)


def is_triggered(losses: Sequence[float], loss: float, interval: int) -> bool:
    """Whether `loss` is worse than the best of all but the last `interval` losses before it.

    The non-monotonic trigger of Merity et al. (2018), "Regularizing and Optimizing LSTM Language Models".
    """
    return len(losses) > interval and loss > min(losses[:-interval])
