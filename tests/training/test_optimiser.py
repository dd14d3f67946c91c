"""Optimisers: their defaults, their groups of parameters, and one step by hand."""

import math

import pytest
import torch
from torch import nn

from lmkit.training.optimiser import clip_norm, make_optimiser, peak_rate
from lmkit.training.options import TrainOptions


@pytest.mark.parametrize(("name", "rate", "clip"), [("adamw", 0.002, 1.0), ("sgd", 20.0, 0.25)])
def test_defaults(name: str, rate: float, clip: float) -> None:
    """Each optimiser has the rate and clipping that its options document; given values, also zero, win."""
    assert peak_rate(TrainOptions(optimizer=name)) == rate
    assert clip_norm(TrainOptions(optimizer=name)) == clip
    assert peak_rate(TrainOptions(optimizer=name, learning_rate=0.0)) == 0.0
    assert clip_norm(TrainOptions(optimizer=name, clip_norm=3.0)) == 3.0
    assert clip_norm(TrainOptions(optimizer=name, clip_norm=0.0)) == math.inf


@pytest.mark.parametrize(("name", "decay"), [("adamw", 0.01), ("sgd", 0.0)])
def test_weight_decay_is_for_matrices(name: str, decay: float) -> None:
    """Two groups: matrices with the decay, vectors without; together they are every parameter, once."""
    model = nn.Sequential(nn.Embedding(4, 3), nn.Linear(3, 2), nn.LayerNorm(2))
    for given, wanted in ((None, decay), (0.3, 0.3), (0.0, 0.0)):
        groups = make_optimiser(model, TrainOptions(optimizer=name, weight_decay=given)).param_groups
        assert [group["weight_decay"] for group in groups] == [wanted, 0.0]
        assert [{p.dim() for p in group["params"]} for group in groups] == [{2}, {1}]
        found = [id(p) for group in groups for p in group["params"]]
        assert sorted(found) == sorted(id(p) for p in model.parameters())


def test_steps_of_sgd_by_hand() -> None:
    """w <- w - rate * v with v <- momentum * v + gradient + decay * w, on a matrix of one number."""
    model = nn.Linear(1, 1, bias=False)
    options = TrainOptions(optimizer="sgd", learning_rate=0.5, momentum=0.9, weight_decay=0.1)
    optimiser = make_optimiser(model, options)
    nn.init.constant_(model.weight, 2.0)
    weight, velocity = 2.0, 0.0
    for gradient in (1.0, -3.0, 0.25):
        model.weight.grad = torch.full((1, 1), gradient)
        optimiser.step()
        velocity = 0.9 * velocity + gradient + 0.1 * weight
        weight -= 0.5 * velocity
        assert model.weight.item() == pytest.approx(weight, rel=1e-5)


def test_the_first_step_of_adamw_by_hand() -> None:
    """The first step is the rate in the direction of the gradient's sign, after the decay."""
    model = nn.Linear(1, 1, bias=False)
    optimiser = make_optimiser(model, TrainOptions(learning_rate=0.1, weight_decay=0.2))
    nn.init.constant_(model.weight, 2.0)
    model.weight.grad = torch.full((1, 1), -5.0)
    optimiser.step()
    assert model.weight.item() == pytest.approx(2.0 * (1 - 0.1 * 0.2) + 0.1, rel=1e-5)
