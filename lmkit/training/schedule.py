"""When things happen in a training: the learning rate at each step, the number of steps, the validations."""

import math
from dataclasses import replace

from lmkit.corpus.streams import Streams
from lmkit.training.options import TrainOptions

DEFAULT_EPOCHS = 10
VALIDATION_SHARE = 20
"""By default, a validation follows after this many times its own tokens of training, or after an epoch."""

VALIDATION_STEPS = 20
"""Default minimum number of steps between validations."""


def rate_factor(options: TrainOptions, progress: float) -> float:
    """The learning rate as a share of its peak, given the finished share of the training (0 to 1)."""
    if progress < options.warmup:
        return progress / options.warmup
    done = (progress - options.warmup) / (1 - options.warmup) if options.warmup < 1 else 1.0
    if options.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
    if options.schedule == "linear":
        return 1 - min(done, 1.0)
    return 1.0


def default_valid_every(streams: Streams, validation_tokens: int) -> int:
    """Steps between validations: an epoch, or fewer if the validation text is short."""
    wanted = -(-VALIDATION_SHARE * validation_tokens // (streams.batch_size * streams.bptt))
    # A tiny text has epochs of few steps, and not each needs a validation.
    return max(VALIDATION_STEPS, min(streams.steps_per_epoch, wanted or streams.steps_per_epoch))


def with_limits(options: TrainOptions) -> TrainOptions:
    """The options, with the default number of epochs if there is no other limit."""
    return options if options.is_limited else replace(options, max_epochs=DEFAULT_EPOCHS)


def total_steps(options: TrainOptions, steps_per_epoch: int) -> int | None:
    """The step at which the schedule ends, or None if only time limits the training."""
    limits = [options.max_steps] if options.max_steps else []
    if options.max_epochs:
        limits.append(options.max_epochs * steps_per_epoch)
    return min(limits) if limits else None
