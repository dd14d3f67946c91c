"""Stacks: layers that differ, projections, residuals, norms, and dropout that is locked in time."""

from typing import cast

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lmkit import states
from lmkit.errors import UsageError
from lmkit.recurrence import Cell, GatedCell, Recurrent, StackOptions
from lmkit.recurrence.dropout import drop, drop_words
from lmkit.recurrence.projection import ProjectedCell

INPUT, BATCH, TIME = 5, 3, 7

VARIANTS = {
    "cells": {"cell": "lstm,gru,rnn"},
    "sizes": {"hidden_size": (6, 4)},
    "projection": {"cell": "gru", "num_layers": 2, "projection_size": 3},
    "clips": {"cell": "lstm", "projection_size": 3, "projection_clip": 0.1, "cell_clip": 0.2},
    "cell clip alone": {"cell": "lstm", "cell_clip": 0.1},
    "residual": {"num_layers": 2, "residual": True},
    "residual, other widths": {"hidden_size": (6, 4), "residual": True},
    "layer norm": {"num_layers": 2, "residual": True, "norm": "layer"},
    "rms norm alone": {"num_layers": 2, "norm": "rms"},
}


def make(**options) -> Recurrent:
    torch.manual_seed(0)
    return Recurrent(INPUT, **{"hidden_size": 6, **options}).double()


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_carry_reset_and_steps(options):
    """Every variant carries its state, forgets it at a reset, and steps as it runs."""
    stack = make(**options).eval()
    xs = torch.randn(BATCH, TIME, INPUT, dtype=torch.float64)
    whole, last = stack(xs)
    assert whole.shape == (BATCH, TIME, stack.output_size)
    first, state = stack(xs[:, :3])
    second, after = stack(xs[:, 3:], state)
    torch.testing.assert_close(torch.cat([first, second], 1), whole)
    with torch.no_grad():
        state, steps = stack.initial_state(BATCH), []
        for t in range(TIME):
            y, state = stack(xs[:, t : t + 1], state)
            steps.append(y)
    torch.testing.assert_close(torch.cat(steps, 1), whole.detach())
    for one, two, wanted in zip(*map(states.leaves, (after, state, last)), strict=True):
        torch.testing.assert_close(one, wanted)
        torch.testing.assert_close(two, wanted.detach())
    reset = torch.zeros(BATCH, TIME, dtype=torch.bool)
    reset[1, 4] = True
    anew = stack(xs, reset=reset)[0]
    torch.testing.assert_close(anew[1:2, 4:], stack(xs[1:2, 4:])[0])
    torch.testing.assert_close(anew[0], whole[0])


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_gradients_reach_every_parameter(options):
    """No parameter of a variant is left out of training."""
    stack = make(**options, weight_drop=0.3, dropout=0.2, locked=True).train()
    stack(torch.randn(BATCH, TIME, INPUT, dtype=torch.float64))[0].square().sum().backward()
    idle = [name for name, p in stack.named_parameters() if p.grad is None or not p.grad.any()]
    assert not idle


def test_a_plain_stack_is_torch_nn():
    """Two LSTM layers give nn.LSTM's outputs from its weights."""
    stack = make(num_layers=2, cell="lstm")
    reference = nn.LSTM(INPUT, 6, 2, batch_first=True).double()
    with torch.no_grad():
        for index, layer in enumerate(stack.layers):
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                getattr(reference, f"{name}_l{index}").copy_(getattr(layer, name))
    xs = torch.randn(BATCH, TIME, INPUT, dtype=torch.float64)
    torch.testing.assert_close(stack(xs)[0], reference(xs)[0])


def test_projection_is_that_of_torch_nn():
    """A projected LSTM is nn.LSTM with proj_size, in outputs and gradients."""
    stack = make(cell="lstm", projection_size=3)
    reference = nn.LSTM(INPUT, 6, 1, batch_first=True, proj_size=3).double()
    layer = stack.layers[0]
    assert isinstance(layer, ProjectedCell)
    pairs = {name: getattr(layer.cell, name) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
    pairs["weight_hr"] = layer.weight_p
    with torch.no_grad():
        for name, weight in pairs.items():
            getattr(reference, f"{name}_l0").copy_(weight)
    xs = torch.randn(BATCH, TIME, INPUT, dtype=torch.float64)
    ours, theirs = stack(xs)[0], reference(xs)[0]
    torch.testing.assert_close(ours, theirs)
    ours.square().sum().backward()
    theirs.square().sum().backward()
    for name, weight in pairs.items():
        torch.testing.assert_close(weight.grad, getattr(reference, f"{name}_l0").grad)


def test_projection_with_clips_is_its_equations():
    """r is clipped after the projection and carried so; c is clipped after the step, and h taken from it unclipped."""
    stack = make(cell="lstm", projection_size=3, projection_clip=0.03, cell_clip=0.1)
    weights = dict(stack.layers[0].named_parameters())
    xs = torch.randn(BATCH, TIME, INPUT, dtype=torch.float64)
    r, c, wanted = xs.new_zeros(BATCH, 3), xs.new_zeros(BATCH, 6), []
    for x in xs.unbind(1):
        sums = x @ weights["cell.weight_ih"].T + weights["cell.bias_ih"]
        i, f, g, o = (sums + r @ weights["cell.weight_hh"].T + weights["cell.bias_hh"]).chunk(4, -1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h, c = o.sigmoid() * c.tanh(), c.clip(-0.1, 0.1)
        r = (h @ weights["weight_p"].T).clip(-0.03, 0.03)
        wanted.append(r)
    expected, (found, ((_, _, last),)) = torch.stack(wanted, 1), stack(xs)
    assert 0.1 < float((expected.abs() == 0.03).double().mean()) < 0.9
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(last, c)
    gradients = (torch.autograd.grad(y.square().sum(), list(weights.values())) for y in (found, expected))
    for ours, reference in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, reference)


def test_clips_bound_what_they_name():
    """No projected output passes its clip, no memory its own."""
    stack = make(cell="lstm", projection_size=3, projection_clip=0.01, cell_clip=0.02)
    ys, ((r, _, c),) = stack(9 * torch.randn(BATCH, TIME, INPUT, dtype=torch.float64))
    assert float(ys.detach().abs().max()) <= 0.01
    assert float(r.detach().abs().max()) <= 0.01
    assert float(c.detach().abs().max()) <= 0.02


def test_residual_layers_add_to_their_input():
    """With every cell silenced, residual layers of one width hand their input through."""
    stack = Recurrent(INPUT, INPUT, 3, "rnn", residual=True)
    with torch.no_grad():
        for parameter in stack.parameters():
            parameter.zero_()
    xs = torch.randn(BATCH, TIME, INPUT)
    torch.testing.assert_close(stack(xs)[0], xs)


def test_weight_drop_drops_one_draw_a_window():
    """The output of a window is that of a cell whose recurrent weight is dropped once; the weight stays whole."""
    stack = make(cell="gru", weight_drop=0.5).train()
    xs = torch.randn(BATCH, TIME, INPUT, dtype=torch.float64)
    cell = cast(GatedCell, stack.layers[0])
    before = cell.weight_hh.detach().clone()
    torch.manual_seed(7)
    dropped, _ = stack(xs)
    torch.manual_seed(7)
    weight = F.dropout(before, 0.5)
    torch.testing.assert_close(cell.weight_hh.detach(), before, rtol=0, atol=0)
    with torch.no_grad():
        cell.weight_hh.copy_(weight)
    torch.testing.assert_close(dropped, stack.eval()(xs)[0])


def test_locked_dropout_keeps_its_mask_for_the_window():
    """Locked: what is dropped at one step is dropped at all; else masks differ from step to step."""
    ones = torch.ones(8, 20, 30)
    locked = drop(ones, 0.5, locked_dim=1)
    assert torch.equal(locked, locked[:, :1].expand_as(locked))
    assert 0.3 < float((locked == 0).float().mean()) < 0.7
    assert set(locked.unique().tolist()) == {0.0, 2.0}
    free = drop(ones, 0.5)
    assert not torch.equal(free, free[:, :1].expand_as(free))


def test_word_dropout_drops_words_whole():
    """A dropped word is zero everywhere; another is scaled everywhere."""
    ids = torch.randint(0, 9, (4, 50))
    dropped = drop_words(torch.ones(4, 50, 3), ids, 9, 0.5)
    for word in range(9):
        assert dropped[ids == word].unique().numel() <= 1
    assert set(dropped.unique().tolist()) == {0.0, 2.0}


class Leaky(Cell):
    """A cell whose products are its own."""

    def __init__(self, input_size, hidden_size, options=None):
        super().__init__(input_size, hidden_size, options)
        self.map = nn.Linear(input_size, hidden_size)

    def initial_state(self, batch_size):
        return self.map.weight.new_zeros(batch_size, self.hidden_size)

    def forward(self, x, state):
        state = (state + self.map(x)) / 2
        return state, state


class Feedforward(GatedCell):
    """A gated cell without a recurrent product."""

    recurrent = False

    def gates(self, x, h, state):
        return torch.tanh(x)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden_size": (6, 4), "num_layers": 3}, "2 hidden sizes are listed for 3 layers"),
        ({"cell": "lstm,gru", "hidden_size": (6, 4, 5)}, "2 cells are listed for 3 layers"),
        ({"cell": Leaky, "projection_size": 3}, "Leaky is not one: leave out --projection-size"),
        ({"cell": Leaky, "weight_drop": 0.1}, "Leaky is not one: leave out --weight-drop"),
        ({"cell": Feedforward, "weight_drop": 0.1}, "Feedforward is not one"),
        ({"cell": "gru", "cell_clip": 1.0}, "GRUCell has none; leave it out"),
        ({"cell": "lstm", "projection_clip": 1.0}, "give --projection-size too"),
    ],
)
def test_what_a_cell_cannot_honour_is_refused(options, message):
    """One line says which option, which cell, and what to do."""
    with pytest.raises(UsageError, match=message):
        make(**options)


def test_options_come_as_an_object_or_by_name():
    """A model's options serve as they are, and names beside them override; without either nothing is dropped."""
    given = StackOptions(norm="layer", dropout=0.4, residual=True)
    stack = Recurrent(INPUT, 6, 2, options=given, dropout=0.2, first_residual=1)
    assert (stack.options.norm, stack.options.dropout, stack.options.residual) == ("layer", 0.2, True)
    assert [isinstance(shortcut, nn.Identity) for shortcut in stack.shortcuts] == [True, True]
    assert Recurrent(INPUT, 6).options == StackOptions(dropout=0.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dropot": 0.1}, "Recurrent: unknown option 'dropot'; did you mean 'dropout'?"),
        ({"num_layer": 2}, "Recurrent: unknown option 'num_layer'; did you mean 'num_layers'?"),
        ({"norm": "lyer"}, "Recurrent: norm must be one of none, layer, rms, not 'lyer'"),
        ({"dropout": 2}, "Recurrent: dropout must be at most 0.99, not 2"),
    ],
)
def test_a_wrong_setting_is_an_error_that_names_the_right_one(settings, message):
    """A misspelt name suggests the nearest, and a value must be one that the option allows."""
    with pytest.raises(UsageError) as raised:
        Recurrent(INPUT, 6, **settings)
    assert str(raised.value) == message
