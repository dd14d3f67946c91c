"""The schedule of the learning rate."""

import pytest

from lmkit.training.options import TrainOptions
from lmkit.training.schedule import rate_factor


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant", "plateau"])
def test_schedules_rise_then_fall(schedule):
    """Each schedule rises from zero in the warm-up; cosine and linear end at zero, the others stay."""
    options = TrainOptions(schedule=schedule, warmup=0.1)
    assert rate_factor(options, 0.0) == 0
    assert rate_factor(options, 0.05) == pytest.approx(0.5)
    assert rate_factor(options, 0.1) == pytest.approx(1)
    assert rate_factor(options, 1.0) == pytest.approx(0.0 if schedule in ("cosine", "linear") else 1.0)
    assert rate_factor(TrainOptions(schedule=schedule, warmup=0.0), 0.0) == 1
