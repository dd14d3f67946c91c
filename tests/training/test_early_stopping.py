"""What validations do to the state of a training, and what ends it."""

from dataclasses import replace

from lmkit.training.early_stopping import TrainState, after_validation, is_over
from lmkit.training.options import TrainOptions
from lmkit.training.validation import ValidationScore


def test_patience_counts_validations_since_the_best() -> None:
    """A better validation resets the count; as many worse ones as `patience` end the training."""
    options = TrainOptions(patience=2)
    state = TrainState(step=5)
    for loss, worse, over in (
        (2.0, 0, False),
        (2.5, 1, False),
        (1.5, 0, False),
        (1.5, 1, False),
        (1.6, 2, True),
    ):
        state = after_validation(state, options, ValidationScore(loss))
        assert (state.worse, is_over(state, options, None)) == (worse, over)
    assert (state.best_loss, state.best_step) == (1.5, 5)


def test_a_plateau_divides_the_rate() -> None:
    """With the schedule "plateau" each worse validation divides the rate; with others none does."""
    for schedule, divisor in (("plateau", 16.0), ("cosine", 1.0)):
        options = TrainOptions(schedule=schedule, decay_factor=4.0)
        state = after_validation(TrainState(), options, ValidationScore(1.0))
        for loss in (1.1, 1.2):
            state = after_validation(state, options, ValidationScore(loss))
        assert state.rate_divisor == divisor


def test_limits_end_a_training() -> None:
    """Steps and seconds, of either clock, end it as soon as they are reached."""
    options = TrainOptions(max_time=3.0)
    state = TrainState(step=9, seconds=2.0)
    assert not is_over(state, options, 10)
    assert is_over(replace(state, step=10), options, 10)
    assert is_over(replace(state, seconds=3.0), options, None)
    assert is_over(replace(state, cpu_seconds=3.0), TrainOptions(max_cpu_time=3.0), None)


def test_the_non_monotonic_trigger() -> None:
    """Averaging begins once, at the first loss worse than the best of all but the last N before it; by brute force."""
    losses = [5.0, 4.0, 4.5, 4.4, 4.3, 3.9, 4.2, 4.1, 4.05, 3.0, 9.0]
    for interval in (1, 2, 3, 5, 20):
        options = TrainOptions(asgd_trigger=interval)
        state, begun = TrainState(), None
        for step, loss in enumerate(losses, start=1):
            if begun is None and step - 1 > interval and loss > min(losses[: step - 1 - interval]):
                begun = step
            state = after_validation(replace(state, step=step), options, ValidationScore(loss))
            assert state.averaged_from == begun
        assert state.losses == tuple(losses)
    assert after_validation(TrainState(), TrainOptions(), ValidationScore(1.0)).losses == ()
