"""When things happen in a training: the learning rate at each step, the number of steps, the validations."""

import math
from dataclasses import replace

from lmkit.corpus.streams import Streams
from lmkit.corpus.windows import Windows
from lmkit.training.options import TrainOptions

DEFAULT_EPOCHS = 10
DEFAULT_WARMUP = 0.02
ONE_CYCLE_WARMUP = 0.25
"""As in fastai, like the other constants of this schedule; Smith (2018), arXiv:1803.09820, has the idea."""
ONE_CYCLE_START, ONE_CYCLE_END = 25.0, 1e5
"""The schedule "one-cycle" begins at the peak rate divided by the first and ends at that divided by the second."""
ONE_CYCLE_MOMENTUM = 0.95, 0.85
"""At the ends and at the peak of the rate."""
VALIDATION_SHARE = 20
"""By default, a validation follows after this many times its own tokens of training, or after an epoch."""

VALIDATION_STEPS = 20
"""Default minimum number of steps between validations."""


def rate_factor(options: TrainOptions, progress: float, epoch: int) -> float:
    """The learning rate as a share of its peak.

    progress: the finished share of the training (0 to 1). epoch: the present one, from 0.
    """
    risen, fallen = phases(options, progress)
    if options.schedule == "one-cycle":
        return (
            cosine(1 / ONE_CYCLE_START, 1.0, risen) if risen < 1 else cosine(1.0, 1 / ONE_CYCLE_END, fallen)
        )
    if risen < 1:
        return risen
    if options.schedule == "cosine":
        return cosine(1.0, 0.0, fallen)
    if options.schedule == "linear":
        return 1 - fallen
    if options.schedule == "epochs":
        return options.decay_factor ** -decays(options, epoch)
    return 1.0


def momentum(options: TrainOptions, progress: float) -> float | None:
    """The momentum, or beta1 of AdamW, that the schedule sets; None if it is constant."""
    if options.schedule != "one-cycle" or (options.optimizer == "sgd" and not options.momentum):
        return None
    risen, fallen = phases(options, progress)
    high, low = ONE_CYCLE_MOMENTUM
    return cosine(high, low, risen) if risen < 1 else cosine(low, high, fallen)


def phases(options: TrainOptions, progress: float) -> tuple[float, float]:
    """The finished shares of the warm-up and of the time after it."""
    share = options.warmup
    if share is None:
        share = ONE_CYCLE_WARMUP if options.schedule == "one-cycle" else DEFAULT_WARMUP
    risen = progress / share if progress < share else 1.0
    fallen = (progress - share) / (1 - share) if share < 1 else 1.0
    return risen, min(max(fallen, 0.0), 1.0)


def cosine(first: float, last: float, done: float) -> float:
    """The way from first to last along half a period of the cosine."""
    return last + (first - last) * 0.5 * (1 + math.cos(math.pi * done))


def decays(options: TrainOptions, epoch: int) -> int:
    """How often the schedule "epochs" has divided the rate by this epoch (from 0)."""
    if options.decay_after is not None:
        return max(0, epoch + 1 - options.decay_after)
    assert options.decay_at is not None
    at = options.decay_at if isinstance(options.decay_at, tuple) else (options.decay_at,)
    return sum(epoch >= one for one in at)


def default_valid_every(streams: Streams, validation_tokens: int) -> int:
    """Steps between validations: an epoch, or fewer if the validation text is short."""
    wanted = -(-VALIDATION_SHARE * validation_tokens // (streams.batch_size * streams.bptt))
    # A tiny text has epochs of few steps, and not each needs a validation.
    return max(VALIDATION_STEPS, min(streams.steps_per_epoch, wanted or streams.steps_per_epoch))


def with_limits(options: TrainOptions) -> TrainOptions:
    """The options, with the default number of epochs if there is no other limit."""
    return options if options.is_limited else replace(options, max_epochs=DEFAULT_EPOCHS)


def total_steps(options: TrainOptions, windows: Windows) -> int | None:
    """The step at which the schedule ends, or None if only time limits the training."""
    limits = [options.max_steps] if options.max_steps else []
    if options.max_epochs:
        limits.append(windows.first_step(options.max_epochs))
    return min(limits) if limits else None
