"""A training step on a GPU never makes the host wait, and mixes no devices: shown without one, on the device "meta"."""

import math
from typing import Any

import pytest
import torch

from lmkit.host_copies import derive, on_host, send
from lmkit.plugins import registry
from lmkit.recurrence import compiling, tiers
from lmkit.training.figures import Figures, StepFigures
from lmkit.training.loop import DivergedError

SIZES = {"vocabulary": 60, "line": 7, "batch_size": 2, "bptt": 10}
BASE = {"name": "recurrent", "hidden_size": 4, "dropout": 0.1, "reset": "line"}
ENCODER = {"name": "elmo", "hidden_size": 4, "num_layers": 2}
MODELS: dict[str, dict[str, Any]] = {
    "softmax": BASE | {"reset": "document"},
    "sampled": BASE | {"output": "sampled"},
    "adaptive": BASE | {"output": "adaptive", "tied": False},
    "mixture": BASE | {"output": "mixture", "experts": 2},
    "dropout of all kinds": BASE
    | {"weight_drop": 0.3, "locked": True, "word_dropout": 0.1, "activation_penalty": 2.0, "temporal_penalty": 1.0},
    "projection": BASE | {"projection_size": 2, "cell_clip": 3.0, "residual": True, "norm": "layer"},
    "window": {"name": "window", "hidden_size": 4},
    "elmo, characters": ENCODER | {"inputs": "characters", "filters": "1x4,2x4", "character_size": 4},
    "elmo, tokens": ENCODER | {"inputs": "tokens", "output_words": 20, "samples": 4},
    "elmo, exact": ENCODER | {"inputs": "tokens", "output_words": 20, "samples": 0},
}  # fmt: skip


def built_in_cells() -> list[str]:
    return [part.display_name for part in registry().parts("cell") if part.plugin.builtin]


@pytest.mark.parametrize("reset", ["never", "line"])
@pytest.mark.parametrize("cell", built_in_cells())
def test_a_step_of_each_cell(launches, cell, reset):
    """Forward, backward, clipping and AdamW, with resets inside the window and without."""
    launches.second_step(launches.trainer(BASE | {"cell": cell, "reset": reset}, **SIZES))


@pytest.mark.parametrize("name", MODELS)
def test_a_step_of_each_output_layer_and_encoder(launches, name):
    """With a moving average of the weights."""
    launches.second_step(launches.trainer(MODELS[name], average=0.9, **SIZES))


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_step_of_each_optimiser_and_precision(launches, optimizer, precision):
    """With sparse gradients."""
    table = MODELS["sampled"]
    launches.second_step(launches.trainer(table, optimizer=optimizer, precision=precision, **SIZES))


@pytest.mark.parametrize("more", [{"cell": "sru"}, {"cell": "lstm", "projection_size": 2}])
def test_a_step_of_compiled_cells(launches, more, monkeypatch):
    """The walk through a window is that of compiled kernels, which here run operation by operation."""
    monkeypatch.setattr(tiers, "_compilable", lambda *_: True)
    monkeypatch.setattr(compiling, "compiled", compiling.uncompiled)
    made = launches.trainer(BASE | more | {"tier": "compiled"}, **SIZES)
    launches.second_step(made)
    assert tiers.progress(made.model) == {}  # counted only by cells that are not compiled yet


@pytest.mark.parametrize("cell", ["gru", "layer-norm-lstm", "xlstm-slstm"])
def test_a_step_of_window_kernels(launches, cell):
    """Whole windows by one kernel each way: x and h apart, parameters of its own, products inside `gates`."""
    with launches.window_kernels():
        made = launches.trainer(
            BASE | {"cell": cell, "tier": "compiled", "hidden_size": 8, "num_layers": 2}, **SIZES
        )
        kernels = launches.second_step(made)["neg_"]
    assert kernels == 4


def test_the_watch_sees_what_makes_the_host_wait(launches):
    """Reads, copies, shapes that depend on values, numbers of the host, and tensors of two devices."""
    x, cpu = torch.zeros(3, device="meta"), torch.zeros(3)
    for act in (
        lambda: bool(x.any()), x.tolist, x.nonzero, x.cpu, x.unique, lambda: x[x > 0], lambda: x + cpu,
        lambda: cpu.to("meta"), lambda: torch.tensor([1], device="meta"), lambda: x.new_tensor([1]),
        lambda: x.copy_(cpu),
    ):  # fmt: skip
        with launches.watching(), pytest.raises(AssertionError, match=r"wait|together"):
            act()
    with launches.watching() as device:
        (cpu.to("meta", non_blocking=True) + x).view(3, 1)
    assert device.launched.total() == 2


def test_copies_of_the_host_follow_what_is_derived():
    """A derived tensor is known where all its sources are; others are read, here in vain."""
    sent = send(torch.tensor([[True, False], [False, True]]), torch.device("meta"))
    assert on_host(derive(torch.Tensor.t, sent)).tolist() == [[True, False], [False, True]]
    assert on_host(derive(lambda a, b: a & b, sent, sent)).sum() == 2
    with pytest.raises(NotImplementedError):
        on_host(derive(lambda a, b: a & b, sent, torch.zeros_like(sent)))
    own = torch.ones(1)
    assert send(own, torch.device("cpu")) is on_host(own) is own


def figures_elsewhere() -> Figures:
    """As on a GPU, with tensors that can be read."""
    figures = Figures(torch.device("cpu"))
    figures.read_at_once = False
    return figures


def test_figures_are_those_of_the_newest_step():
    """Until a read; then there are none."""
    figures = figures_elsewhere()
    assert figures.read() is None
    skips = [figures.take(step, torch.tensor(step / 2), torch.tensor(1.0)) for step in (1, 2, 3)]
    assert [float(skip) for skip in skips] == [0, 0, 0]
    assert figures.read() == StepFigures(3, 1.5, 1.0)
    assert figures.read() is None


def test_the_first_bad_step_is_remembered():
    """Whatever follows, since a skipped step leaves the weights as they were."""
    figures = figures_elsewhere()
    losses = (1.0, math.nan, math.inf, 2.0)
    skips = [figures.take(step, torch.tensor(loss), torch.tensor(1.0)) for step, loss in enumerate(losses, 1)]
    assert [float(skip) for skip in skips] == [0, 1, 1, 0]
    found = figures.read()
    assert (found.step, math.isnan(found.loss), found.norm) == (2, True, 1.0)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("output", ["softmax", "sampled"])
def test_a_bad_step_is_skipped_and_stops_the_training_later(launches, output, optimizer, monkeypatch):
    """As on a GPU: a loss of NaN leaves the weights as they were, the next steps go on, and the error names it."""
    made = launches.trainer(
        BASE | {"output": output}, device=torch.device("cpu"), optimizer=optimizer, **SIZES
    )
    made._figures.read_at_once = False
    made._figures._read_at = math.inf  # no read because of time
    if optimizer == "sgd":
        for group in made.optimiser.param_groups:
            group.update(foreach=False, fused=True)
    step_loss, weights = made.model.step_loss, []

    def spoiled(window, state):
        weights.append([p.detach().clone() for p in made.model.parameters()])
        loss, state = step_loss(window, state)
        return (loss * math.nan if len(weights) == 3 else loss), state

    monkeypatch.setattr(made.model, "step_loss", spoiled)
    with pytest.raises(DivergedError, match="the loss became nan at step 3"):
        made.run()
    assert len(weights) == 10
    before, after, last = weights[2], weights[3], weights[9]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(after, last, strict=True))
    assert all(bool(w.isfinite().all()) for w in last)
