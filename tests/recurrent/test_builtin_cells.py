"""The classic cells are torch.nn's, in outputs and gradients."""

import pytest
import torch
from torch import nn

from lmkit.errors import UsageError
from lmkit.options import choose
from lmkit.recurrence import Cell, GatedCell, Recurrent, compiling

PEERS = [
    ("lstm", {}, nn.LSTM, {}),
    ("gru", {}, nn.GRU, {}),
    ("rnn", {"activation": "tanh"}, nn.RNN, {"nonlinearity": "tanh"}),
    ("rnn", {"activation": "relu"}, nn.RNN, {"nonlinearity": "relu"}),
]
INPUT, HIDDEN, LAYERS, BATCH, TIME = 5, 7, 2, 3, 11


def ours_and_theirs(
    name: str, options: dict, peer: type[nn.RNNBase], settings: dict
) -> tuple[Recurrent, nn.RNNBase]:
    torch.manual_seed(0)
    cell = choose("cell", {"name": name, **options}, "cell")
    ours = Recurrent(INPUT, HIDDEN, LAYERS, cell).double()
    theirs = peer(INPUT, HIDDEN, LAYERS, batch_first=True, **settings).double()
    for index, layer in enumerate(ours.layers):
        for weight in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            getattr(layer, weight).data.copy_(getattr(theirs, f"{weight}_l{index}").data)
    return ours, theirs


@pytest.mark.parametrize("loop", [False, True], ids=["fused", "loop"])
@pytest.mark.parametrize(("name", "options", "peer", "settings"), PEERS)
def test_outputs_states_and_gradients_equal_torch(name, options, peer, settings, loop, monkeypatch):
    """A cell with torch's weights gives torch's numbers, by the fused kernel and by the loop over its equations."""
    ours, theirs = ours_and_theirs(name, options, peer, settings)
    if loop:
        monkeypatch.setattr(type(ours.layers[0]), "sequence", GatedCell.sequence)
    x = torch.randn(BATCH, TIME, INPUT, dtype=torch.float64)
    x_ours, x_theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    y_ours, state = ours(x_ours)
    y_theirs, last = theirs(x_theirs)
    weights = torch.randn_like(y_ours)
    (y_ours * weights).sum().backward()
    (y_theirs * weights).sum().backward()

    torch.testing.assert_close(y_ours, y_theirs, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(x_ours.grad, x_theirs.grad, rtol=1e-11, atol=1e-11)
    last = last if isinstance(last, tuple) else (last,)
    for part, torchs in zip(zip(*state, strict=True), last, strict=True):
        torch.testing.assert_close(torch.stack(part), torchs, rtol=1e-12, atol=1e-12)
    for index, layer in enumerate(ours.layers):
        for weight in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            torch.testing.assert_close(
                getattr(layer, weight).grad,
                getattr(theirs, f"{weight}_l{index}").grad,
                rtol=1e-11,
                atol=1e-11,
            )


def test_sigmoid_rnn_is_its_equation():
    """The activation that torch does not have is the same sum through the logistic sigmoid."""
    cell: Cell = Recurrent(2, 3, 1, choose("cell", {"name": "rnn", "activation": "sigmoid"}, "cell")).layers[
        0
    ]  # pyright: ignore
    x, h = torch.randn(4, 2), torch.rand(4, 3)
    y, _ = cell(x, (h,))
    expected = torch.sigmoid(x @ cell.weight_ih.T + cell.bias_ih + h @ cell.weight_hh.T + cell.bias_hh)
    torch.testing.assert_close(y, expected)


@pytest.mark.parametrize("tier", ["auto", "compiled", "plain"])
def test_a_clipped_lstm_bounds_its_memory_before_the_output(tier, monkeypatch):
    """c is put within the clip and h is taken from what is left of it: by every tier, and never by torch's kernel."""
    monkeypatch.setattr(compiling, "compiled", compiling.uncompiled)  # the same graphs, without the wait
    torch.manual_seed(0)
    chosen = choose("cell", {"name": "lstm", "clip": 0.3}, "cell")
    stack = Recurrent(INPUT, HIDDEN, 1, chosen, tier=tier).double()
    weights = dict(stack.layers[0].named_parameters())
    x = 4 * torch.randn(BATCH, TIME, INPUT, dtype=torch.float64)
    h, c, wanted = torch.zeros(BATCH, HIDDEN).double(), torch.zeros(BATCH, HIDDEN).double(), []
    for x_t in x.unbind(1):
        sums = x_t @ weights["weight_ih"].T + weights["bias_ih"]
        i, f, g, o = (sums + h @ weights["weight_hh"].T + weights["bias_hh"]).chunk(4, -1)
        c = (f.sigmoid() * c + i.sigmoid() * g.tanh()).clip(-0.3, 0.3)
        h = o.sigmoid() * c.tanh()
        wanted.append(h)
    y, ((_, last),) = stack(x)
    torch.testing.assert_close(y, torch.stack(wanted, 1), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(last, c, rtol=1e-12, atol=1e-12)
    assert float(last.detach().abs().max()) == 0.3
    found, reference = (
        torch.autograd.grad(z.square().sum(), weights["weight_hh"]) for z in (y, torch.stack(wanted, 1))
    )
    torch.testing.assert_close(found, reference, rtol=1e-11, atol=1e-11)
    with pytest.raises(UsageError, match="LSTMCell has no tier 'torch'"):
        stack.layers[0].use_tier("torch")  # pyright: ignore


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru"])
def test_reset_inside_a_window_is_a_new_beginning(name):
    """Resetting row b before step t gives the outputs of a sequence that begins there, and leaves other rows alone."""
    torch.manual_seed(1)
    model = Recurrent(INPUT, HIDDEN, LAYERS, name).double()
    x = torch.randn(2, 9, INPUT, dtype=torch.float64)
    reset = torch.zeros(2, 9, dtype=torch.bool)
    reset[0, 4] = True
    y, _ = model(x, reset=reset)
    torch.testing.assert_close(y[0, 4:], model(x[:1, 4:])[0][0], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(y[1], model(x)[0][1], rtol=1e-12, atol=1e-12)
