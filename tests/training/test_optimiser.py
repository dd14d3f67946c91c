"""Optimisers: their defaults, their groups of parameters, and one step by hand."""

import math

import pytest
import torch
from torch import nn

from lmkit.training.optimiser import clip_gradients, clip_norm, make_optimiser, peak_rate
from lmkit.training.options import TrainOptions


@pytest.mark.parametrize(("name", "rate", "clip"), [("adamw", 0.004, 1.0), ("sgd", 20.0, 0.25)])
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


def test_betas_by_hand() -> None:
    """m <- beta1 m + (1 - beta1) g, v <- beta2 v + (1 - beta2) g^2, both divided by 1 - beta^step."""
    model = nn.Linear(1, 1, bias=False)
    optimiser = make_optimiser(model, TrainOptions(learning_rate=0.1, weight_decay=0.0, beta1=0.7, beta2=0.8))
    nn.init.constant_(model.weight, 2.0)
    weight, mean, square = 2.0, 0.0, 0.0
    for step, gradient in enumerate((1.0, -3.0, 0.25), start=1):
        model.weight.grad = torch.full((1, 1), gradient)
        optimiser.step()
        mean, square = 0.7 * mean + 0.3 * gradient, 0.8 * square + 0.2 * gradient**2
        weight -= 0.1 * (mean / (1 - 0.7**step)) / (math.sqrt(square / (1 - 0.8**step)) + 1e-8)
        assert model.weight.item() == pytest.approx(weight, rel=1e-5)


def graded() -> nn.Sequential:
    """A model with gradients: one dense, one sparse, one parameter without."""
    model = nn.Sequential(
        nn.Embedding(4, 2, sparse=True), nn.Linear(2, 1, bias=False), nn.Linear(1, 1, bias=False)
    )
    values = torch.tensor([[3.0, -6.0], [1.0, 1.0]])
    model[0].weight.grad = torch.sparse_coo_tensor(
        torch.tensor([[1, 3]]), values, (4, 2), check_invariants=True
    )
    model[1].weight.grad = torch.tensor([[2.0, -0.5]])
    return model


def dense(model: nn.Sequential) -> list[list[float]]:
    gradient = model[0].weight.grad
    assert gradient is not None
    assert gradient.is_sparse
    assert model[2].weight.grad is None
    return [*gradient.to_dense().tolist(), *model[1].weight.grad.tolist()]


NORM = math.sqrt(3.0**2 + 6.0**2 + 1 + 1 + 2.0**2 + 0.5**2)


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"clip_norm": 0.0}, [[0, 0], [3, -6], [0, 0], [1, 1], [2, -0.5]]),
        ({"clip_norm": 100.0}, [[0, 0], [3, -6], [0, 0], [1, 1], [2, -0.5]]),
        ({"clip_norm": 0.0, "clip_value": 1.5}, [[0, 0], [1.5, -1.5], [0, 0], [1, 1], [1.5, -0.5]]),
        ({"clip_norm": NORM / 2}, [[0, 0], [1.5, -3], [0, 0], [0.5, 0.5], [1, -0.25]]),
        ({"clip_norm": NORM / 2, "clip_value": 1.0}, [[0, 0], [1, -1], [0, 0], [0.5, 0.5], [1, -0.25]]),
    ],
)
def test_clipping_by_hand(options: dict[str, float], wanted: list[list[float]]) -> None:
    """By the norm over all gradients, then by value; a sparse gradient stays sparse."""
    model = graded()
    assert clip_gradients(model, TrainOptions(**options)) == pytest.approx(NORM)
    for found, row in zip(dense(model), wanted, strict=True):
        assert found == pytest.approx(row, rel=1e-5)


def test_clipping_by_norm_is_torchs() -> None:
    """Dense gradients become the same bits as by torch's function."""
    torch.manual_seed(0)
    ours, theirs = nn.Linear(7, 5), nn.Linear(7, 5)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        one.grad = torch.randn_like(one)
        other.grad = one.grad.clone()
    norm = torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.3)
    assert clip_gradients(ours, TrainOptions(clip_norm=0.3)) == float(norm)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)
