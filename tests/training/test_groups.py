"""Groups of parameters: rates and frozen ones."""

import pytest
import torch
from torch import nn

from lmkit.errors import UsageError
from lmkit.training.groups import freeze, rate_factors
from lmkit.training.optimiser import make_optimiser, set_rate
from lmkit.training.options import TrainOptions


def model() -> nn.ModuleDict:
    """Twelve layers in a stack, and an embedding that is tied to the output layer."""
    found = nn.ModuleDict(
        {"embedding": nn.Embedding(4, 2), "stack": nn.ModuleList(nn.Linear(2, 2) for _ in range(12))}
    )
    found["output"] = nn.Linear(2, 4)
    found["output"].weight = found["embedding"].weight
    return found


def test_factors_by_name_and_pattern():
    """A name counts up to a dot, a pattern for whole names, and the last of several entries wins."""
    factors = rate_factors(
        model(), TrainOptions(rates=("stack.1=0.5", "*.bias=0.25", "stack.2.bias = 0", "embedding=3"))
    )
    assert factors["stack.1.weight"] == 0.5
    assert factors["stack.10.weight"] == factors["stack.0.weight"] == 1.0
    assert factors["stack.1.bias"] == factors["output.bias"] == 0.25
    assert factors["stack.2.bias"] == 0.0
    assert factors["embedding.weight"] == 3.0
    assert "output.weight" not in factors
    assert set(rate_factors(model(), TrainOptions()).values()) == {1.0}


def test_groups_of_the_optimiser():
    """Each trained parameter is in one group, with the product of rate and factor, and decay for matrices alone."""
    network = model()
    options = TrainOptions(rates="stack.1=0.5", freeze=("embedding", "stack.0"), weight_decay=0.1)
    freeze(network, options)
    optimiser = make_optimiser(network, options)
    set_rate(optimiser, 0.2, None)
    found = {id(p): (g["lr"], g["weight_decay"]) for g in optimiser.param_groups for p in g["params"]}
    for name, parameter in network.named_parameters():
        frozen = name == "embedding.weight" or name.startswith("stack.0.")
        assert parameter.requires_grad != frozen
        rate = 0.2 * 0.5 if name.startswith("stack.1.") else 0.2
        wanted = None if frozen else (pytest.approx(rate), 0.0 if name.endswith("bias") else 0.1)
        assert found.get(id(parameter)) == wanted


def test_a_factor_is_a_rate_of_its_group():
    """A step of sgd with a factor is that of a rate multiplied by it."""
    torch.manual_seed(0)
    network = model()
    optimiser = make_optimiser(network, TrainOptions(optimizer="sgd", rates="stack.1=0.5"))
    set_rate(optimiser, 0.2, None)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimiser.step()
    for name, parameter in network.named_parameters():
        rate = 0.1 if name.startswith("stack.1.") else 0.2
        torch.testing.assert_close(parameter.detach(), before[name] - rate)


def optimiser_of(options: TrainOptions) -> torch.optim.Optimizer:
    network = model()
    freeze(network, options)
    return make_optimiser(network, options)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"rates": "embeding=0.5"}, "has no parameters 'embeding'; its groups are embedding, stack.0"),
        ({"rates": "embedding"}, "'embedding' is not NAME=FACTOR"),
        ({"rates": "embedding=-1"}, "not NAME=FACTOR"),
        ({"rates": "embedding=nan"}, "not NAME=FACTOR"),
        ({"freeze": "stack.20"}, "--freeze: the model has no parameters 'stack.20'"),
        ({"freeze": "*"}, "leaves no parameter to train"),
    ],
)
def test_wrong_names_are_errors(options, problem):
    """With exit code 2 and the names that there are."""
    with pytest.raises(UsageError, match=problem) as caught:
        optimiser_of(TrainOptions(**options))
    assert caught.value.exit_code == 2
