"""Weights lie as cuDNN reads them, and several layers in one call of torch's kernel are what they are one by one."""

import copy
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from lmkit.neural import flat_weights, precision
from lmkit.neural.weights import load_weights, save_weights
from lmkit.recurrence import Recurrent, torch_window
from lmkit.recurrence import stack as stack_module

SIZES = (5, 4)
RESETS = {"none": [], "some": [(0, 3), (1, 3), (1, 7)]}


def accepted(weights: list[Tensor], layers: int) -> bool:
    """Whether cuDNN reads weights where they are: torch's rule, with the places in cuDNN's buffer.

    weights: as torch's kernel takes them, layer by layer. All are in the memory of the first; gates are contiguous.
    """
    offsets, place = {}, 0
    for fields in (("weight_ih", "weight_hh"), ("bias_ih", "bias_hh")):
        for layer in range(layers):
            for field in fields:
                index = 4 * layer + ("weight_ih", "weight_hh", "bias_ih", "bias_hh").index(field)
                offsets[index] = place
                place += weights[index].numel()
    memory = weights[0].untyped_storage()
    return memory.nbytes() >= place * weights[0].element_size() and all(
        weight.data_ptr() == memory.data_ptr() + offsets[index] * weight.element_size()
        for index, weight in enumerate(weights)
    )


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bool]]:
    """As on a GPU, but on the CPU; of each call of a kernel: its layers, and whether cuDNN would copy no weights."""
    found: list[tuple[int, bool]] = []

    def watched(kernel):
        def run(xs, before, weights, *settings):
            found.append((settings[1], accepted(weights, settings[1])))
            return kernel(xs, before, weights, *settings)

        return run

    for name in ("lstm", "gru", "rnn_tanh"):
        monkeypatch.setattr(torch, name, watched(getattr(torch, name)))
    for module in (torch_window, stack_module):
        monkeypatch.setattr(module, "on_gpu", lambda _: True)
    return found


def stack(layers: int = 3, cell: str = "lstm", **settings: object) -> Recurrent:
    made = Recurrent(*SIZES, layers, cell, tier="torch", **settings)
    return made.to(torch.float32)  # as `to(device)` would, it lays weights together


def resets_of(name: str) -> Tensor | None:
    mask = torch.zeros(2, 9, dtype=torch.bool)
    for row, step in RESETS[name]:
        mask[row, step] = True
    return mask if bool(mask.any()) else None


def run(made: Recurrent, resets: Tensor | None, *, all_layers: bool) -> list[Tensor]:
    """Outputs, last states and gradients."""
    torch.manual_seed(1)
    x = torch.randn(2, 9, SIZES[0], requires_grad=True)
    before = [tuple(torch.randn(2, SIZES[1]) for _ in part) for part in made.initial_state(2)]
    outputs, state = made._outputs(x, tuple(before), resets, all_layers=all_layers)
    gradients = torch.autograd.grad(outputs[-1].square().sum(), [x, *made.parameters()])
    return [outputs[-1], *(leaf for part in state for leaf in part), *gradients]


@pytest.mark.parametrize("resets", RESETS)
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_equal_layers_are_one_call(calls, cell, resets):
    """With the outputs, states and gradients that the layers have one by one; a call ends at a reset."""
    made, mask = stack(cell=cell), resets_of(resets)
    together = run(made, mask, all_layers=False)
    assert calls == [(3, True)] * (1 if mask is None else 3)
    calls.clear()
    apart = run(made, mask, all_layers=True)
    assert {layers for layers, _ in calls} == {1}
    for ours, theirs in zip(together, apart, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    "settings",
    [
        {"dropout": 0.5},
        {"norm": "layer"},
        {"residual": True},
        {"weight_drop": 0.5},
        {"cell": "lstm,gru,lstm"},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_layers_with_something_between_them_are_calls_of_their_own(calls, settings):
    """Each reads its weights from its own buffer, dropped ones too."""
    layers = None if "cell" in settings else 3
    made = Recurrent(*SIZES, layers, **{"cell": "lstm", "tier": "torch", **settings}).float()
    made(torch.randn(2, 9, 5))[0].sum().backward()
    assert calls == [(1, True)] * 3


def test_the_lower_layers_of_different_sizes(calls):
    """cuDNN has one hidden size: the two upper layers are one call, the wider one below is another."""
    made = Recurrent(5, [6, 4, 4], cell="lstm", tier="torch").float()
    made(torch.randn(2, 9, 5))
    assert calls == [(1, True), (2, True)]


def test_dropped_weights_are_copied_together(calls):
    """The gradient of the copies is that of weights in their own memory, as a CPU computes it."""
    made = stack(weight_drop=0.5)
    for _ in range(2):
        torch.manual_seed(3)
        made.zero_grad()
        made(torch.ones(2, 9, 5))[0].sum().backward()
        gradients = [p.grad for p in made.parameters()]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch_window, "on_gpu", lambda _: False)
            torch.manual_seed(3)
            made.zero_grad()
            made(torch.ones(2, 9, 5))[0].sum().backward()
        for ours, parameter in zip(gradients, made.parameters(), strict=True):
            torch.testing.assert_close(ours, parameter.grad, rtol=0, atol=0)
    assert calls[:3] == [(1, True)] * 3


def test_casts_to_bfloat16_lie_together(calls):
    """Of each buffer one cast a step, whose gradient reaches the float32 parameters."""
    made = stack()
    made.add_module("other", nn.Linear(2, 2))
    x = torch.randn(2, 9, 5)
    with precision.computing(made, "bf16"):
        before = precision.entering(made.initial_state(2), "bf16")
        ys, _ = made(x.bfloat16(), before)
        ys.float().square().sum().backward()
    assert calls == [(3, True)]
    expected = stack()
    expected.load_state_dict(made.state_dict(), strict=False)
    expected(x)[0].square().sum().backward()
    for (name, wanted), found in zip(expected.named_parameters(), made.parameters(), strict=False):
        assert found.dtype == found.grad.dtype == torch.float32
        assert (found.grad - wanted.grad).norm() < 0.05 * wanted.grad.norm(), name


@pytest.mark.parametrize("way", ["loaded", "in place", "copied", "pickled state", "optimised"])
def test_weights_after_what_happens_to_a_model(calls, way, tmp_path):
    """Loaded, copied and trained models compute what they should, and their weights lie together or are copied."""
    made = stack()
    x = torch.randn(2, 9, 5)
    wanted, _ = made(x)
    if way == "loaded":
        save_weights(made, tmp_path / "weights")
        with torch.device("meta"):
            plan = Recurrent(*SIZES, 3, "lstm", tier="torch")
        made = load_weights(tmp_path / "weights", plan, lambda: Recurrent(*SIZES, 3, "lstm", tier="torch"))
    elif way == "in place":
        values, made = made.state_dict(), stack()
        made.load_state_dict(values)
    elif way == "copied":
        made = copy.deepcopy(made)
    elif way == "pickled state":
        values, made = made.state_dict(), stack()
        made.load_state_dict(values, assign=True)
    else:
        optimiser = torch.optim.AdamW(made.parameters(), lr=0.1, fused=True)
        made(x)[0].sum().backward()
        optimiser.step()
        expected = Recurrent(*SIZES, 3, "lstm", tier="loop")
        expected.load_state_dict(made.state_dict())
        wanted, _ = expected(x)
    calls.clear()
    torch.testing.assert_close(made(x)[0], wanted, rtol=1e-5, atol=1e-6)
    assert calls == [(3, True)]
    calls.clear()
    torch.testing.assert_close(made.double()(x.double())[0], wanted.double(), rtol=1e-4, atol=1e-5)
    assert calls == [(3, True)]


def test_a_cell_twice_in_a_stack_keeps_its_weights(calls):
    """A parameter has one place; the call copies its weights."""
    made = Recurrent(4, 4, 2, "lstm", tier="torch")
    made.layers[1] = made.layers[0]
    x = torch.randn(2, 9, 4)
    ys, _ = made.float()(x)
    assert calls == [(2, True)]
    expected, _ = made.layer_outputs(x)
    torch.testing.assert_close(ys, expected[-1])
    ys.sum().backward()
    assert all(bool(p.grad.abs().sum()) for p in made.parameters())


def test_laying_together_keeps_values_gradients_and_optimisers():
    """A parameter stays the object that others know."""
    parameters = [nn.Parameter(torch.randn(shape)) for shape in ((3, 2), (4,), (2, 2))]
    parameters[0].grad = torch.ones(3, 2)
    before = [p.detach().clone() for p in parameters]
    assert not flat_weights.lie_together(parameters)
    flat_weights.lay_together(parameters)
    assert flat_weights.lie_together(parameters)
    assert all(torch.equal(a, b) for a, b in zip(before, parameters, strict=True))
    assert all(a.data_ptr() + 4 * a.numel() == b.data_ptr() for a, b in pairwise(parameters))
    assert parameters[0].grad.sum() == 6
    assert not flat_weights.lie_together(parameters[1:])
    assert not flat_weights.lie_together([parameters[0], parameters[2]])
    assert flat_weights.together(parameters) == parameters
    mixed = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2).double())]
    flat_weights.lay_together(mixed)
    assert not flat_weights.lie_together(mixed)


def test_weights_on_a_device_without_values(calls):
    """Moved to "meta", as to a GPU."""
    made = Recurrent(*SIZES, 2, "lstm").to("meta")
    layers = [torch_window._of(layer) for layer in made.layers]
    assert flat_weights.lie_together(flat_weights.in_buffer_order(layers))
