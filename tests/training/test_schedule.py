"""The schedules of the learning rate and the momentum."""

import math

import numpy as np
import pytest

from lmkit.corpus.windows import Windows
from lmkit.errors import UsageError
from lmkit.training.options import TrainOptions
from lmkit.training.schedule import decays, momentum, rate_factor, total_steps


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant", "plateau"])
def test_schedules_rise_then_fall(schedule):
    """Each schedule rises from zero in the warm-up; cosine and linear end at zero, the others stay."""
    options = TrainOptions(schedule=schedule, warmup=0.1)
    assert rate_factor(options, 0.0, 0) == 0
    assert rate_factor(options, 0.05, 0) == pytest.approx(0.5)
    assert rate_factor(options, 0.1, 0) == pytest.approx(1)
    assert rate_factor(options, 1.0, 9) == pytest.approx(0.0 if schedule in ("cosine", "linear") else 1.0)
    assert rate_factor(TrainOptions(schedule=schedule, warmup=0.0), 0.0, 0) == 1
    assert rate_factor(TrainOptions(schedule=schedule), 0.01, 0) == pytest.approx(0.5)


@pytest.mark.parametrize("warmup", [0.25, 0.4])
def test_one_cycle(warmup):
    """From peak / 25 to the peak and on to peak / 1e5, by cosines, as fastai's combined_cos."""
    options = TrainOptions(schedule="one-cycle", warmup=None if warmup == 0.25 else warmup)

    def fastai(start, middle, end, at):
        def annealed(one, other, share):
            return one + (1 + math.cos(math.pi * (1 - share))) * (other - one) / 2

        if at < warmup:
            return annealed(start, middle, at / warmup)
        return annealed(middle, end, (at - warmup) / (1 - warmup))

    for at in np.linspace(0, 1, 41):
        assert rate_factor(options, at, 0) == pytest.approx(fastai(1 / 25, 1, 1e-5, at))
        assert momentum(options, at) == pytest.approx(fastai(0.95, 0.85, 0.95, at))
    assert rate_factor(options, 1.2, 0) == pytest.approx(1e-5)


def test_only_one_cycle_sets_the_momentum():
    """And of sgd only one that is not zero."""
    assert momentum(TrainOptions(), 0.3) is None
    one_cycle = {"schedule": "one-cycle", "optimizer": "sgd"}
    assert momentum(TrainOptions(**one_cycle), 0.3) is None
    assert momentum(TrainOptions(**one_cycle, momentum=0.5), 0.25) == pytest.approx(0.85)


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"decay_after": 4, "decay_factor": 2.0}, [1, 1, 1, 1, 1 / 2, 1 / 4, 1 / 8]),
        ({"decay_at": (2, 5), "decay_factor": 10.0}, [1, 1, 0.1, 0.1, 0.1, 0.01, 0.01]),
        ({"decay_at": 3}, [1, 1, 1, 0.25, 0.25, 0.25, 0.25]),
    ],
)
def test_decay_by_epochs(options, wanted):
    """Zaremba et al. (2014): constant for some epochs, then divided at the start of each; or after given ones."""
    settings = TrainOptions(schedule="epochs", warmup=0.0, **options)
    assert [rate_factor(settings, 0.5, epoch) for epoch in range(7)] == pytest.approx(wanted)
    assert decays(settings, 0) == 0


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"schedule": "epochs"}, "either decay_after or decay_at"),
        ({"schedule": "epochs", "decay_after": 2, "decay_at": (3,)}, "either decay_after or decay_at"),
        ({"decay_after": 2}, "decay_after is for the schedule epochs, not for cosine"),
        ({"average": 0.9, "asgd_trigger": 5}, "two ways to average"),
    ],
)
def test_options_that_do_not_go_together(options, problem):
    """Are an error with exit code 2 that names them."""
    with pytest.raises(UsageError, match=problem) as caught:
        TrainOptions(**options)
    assert caught.value.exit_code == 2


def test_the_last_step():
    """Of epochs whose windows vary, the last step is exactly the end of the last epoch."""
    windows = Windows(500, 20, seed=1)
    assert total_steps(TrainOptions(max_epochs=3), windows) == windows.first_step(3)
    assert total_steps(TrainOptions(max_epochs=3, max_steps=7), windows) == 7
    assert total_steps(TrainOptions(max_time=3.0), windows) is None
