"""Averages of the weights: the formulas, and their place in the model."""

import numpy as np
import pytest
import torch
from torch import nn

from lmkit.training.average import MeanOfSteps, MovingAverage


@pytest.mark.parametrize("decay", [0.0, 0.15, 0.9, 0.999])
def test_the_formula(decay: float) -> None:
    """a <- d a + (1 - d) w with d = min(decay, (1 + step) / (10 + step)), in float64 by numpy."""
    model = nn.Linear(3, 2)
    average = MovingAverage(model, decay)
    wanted = model.weight.detach().numpy().astype(np.float64)
    for step in range(12):
        with torch.no_grad():
            model.weight.copy_(torch.arange(6.0).view(2, 3) * (step - 4))
        average.update(step)
        share = min(decay, (1 + step) / (10 + step))
        wanted = share * wanted + (1 - share) * np.arange(6.0).reshape(2, 3) * (step - 4)
        np.testing.assert_allclose(average.weights["weight"].numpy(), wanted, rtol=1e-5, atol=1e-5)


def test_the_mean_of_steps() -> None:
    """The plain mean of the weights after each step from the first one on, whatever they were before; by numpy."""
    model = nn.Linear(3, 2)
    average = MeanOfSteps(model, 7)
    seen = []
    for step in range(7, 20):
        seen.append(np.arange(6.0).reshape(2, 3) * (step % 5 - 1))
        with torch.no_grad():
            model.weight.copy_(torch.from_numpy(seen[-1]))
        average.update(step)
        np.testing.assert_allclose(average.weights["weight"].numpy(), np.mean(seen, 0), rtol=1e-5, atol=1e-6)


def test_in_place_and_back() -> None:
    """Inside the block the model computes with the average; afterwards, also after an error, with its weights."""
    model = nn.Linear(2, 1)
    average = MovingAverage(model, 0.5)
    begin = {name: p.detach().clone() for name, p in model.named_parameters()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    own = {name: p.detach().clone() for name, p in model.named_parameters()}
    for _ in range(2):
        with pytest.raises(ValueError, match="stop"), average.in_place():  # noqa: PT012 (the block is the rule)
            for name, parameter in model.named_parameters():
                assert torch.equal(parameter, begin[name])
            raise ValueError("stop")
        for name, parameter in model.named_parameters():
            assert torch.equal(parameter, own[name])
            assert torch.equal(average.weights[name], begin[name])


def test_the_average_takes_no_part_in_training() -> None:
    """It needs no gradient, and shares no memory with the weights."""
    model = nn.Linear(2, 1)
    average = MovingAverage(model, 0.5)
    before = average.weights["bias"].clone()
    with torch.no_grad():
        model.bias.add_(3.0)
    assert torch.equal(average.weights["bias"], before)
    assert not any(tensor.requires_grad for tensor in average.weights.values())
