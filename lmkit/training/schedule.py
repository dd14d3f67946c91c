"""When things happen in a training: the learning rate at each step, the number of steps, the validations."""

import math
from dataclasses import replace

from lmkit.corpus.streams import Streams
from lmkit.training.options import TrainOptions

DEFAULT_EPOCHS = 10
VALIDATION_SHARE = 20
"""By default validation waits until so many times its own tokens have been trained on, or an epoch is over."""

VALIDATION_STEPS = 20
"""By default so many steps at least lie between validations."""


def rate_factor(options: TrainOptions, progress: float) -> float:
    """The learning rate as a share of its peak, at a share of the training that is done (0 to 1)."""
    if progress < options.warmup:
        return progress / options.warmup
    done = (progress - options.warmup) / (1 - options.warmup) if options.warmup < 1 else 1.0
    if options.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
    if options.schedule == "linear":
        return 1 - min(done, 1.0)
    return 1.0


def default_valid_every(streams: Streams, validation_tokens: int) -> int:
    """Steps between validations: an epoch, or fewer where validation is short beside what is trained on."""
    wanted = -(-VALIDATION_SHARE * validation_tokens // (streams.batch_size * streams.bptt))
    # A tiny text has epochs of few steps: not each needs a validation.
    return max(VALIDATION_STEPS, min(streams.steps_per_epoch, wanted or streams.steps_per_epoch))


def with_limits(options: TrainOptions) -> TrainOptions:
    """The options with the default number of epochs when nothing else ends the training."""
    if options.max_epochs is None and options.max_steps is None and options.max_time is None:
        return replace(options, max_epochs=DEFAULT_EPOCHS)
    return options


def total_steps(options: TrainOptions, steps_per_epoch: int) -> int | None:
    """The steps at which the schedule ends, or None when only the clock ends the training."""
    limits = [options.max_steps] if options.max_steps else []
    if options.max_epochs:
        limits.append(options.max_epochs * steps_per_epoch)
    return min(limits) if limits else None
