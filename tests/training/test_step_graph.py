"""A recorded training step does what the step does: shown on a CPU, where torch's operations are recorded instead."""

import contextlib
import logging
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from lmkit import host_copies
from lmkit.neural import output
from lmkit.neural.row_losses import by_torch
from lmkit.recurrence.linear_scan import reset_steps
from lmkit.training import step_graph
from lmkit.training.loop import DivergedError
from lmkit.training.step_graph import MOST_GRAPHS, WARM_UPS, StepGraphs

SIZES = {"vocabulary": 40, "line": 5, "batch_size": 3, "bptt": 8}
BASE = {"name": "recurrent", "cell": "gru", "hidden_size": 4, "tier": "loop", "dropout": 0.2, "reset": "line"}
CPU = torch.device("cpu")
MODELS: dict[str, dict[str, Any]] = {
    "loop": BASE,
    "loop without resets": BASE | {"reset": "never"},
    "torch's kernel": BASE | {"cell": "lstm", "reset": "never", "tier": "auto"},
    "layers in one call": BASE | {"cell": "lstm", "reset": "never", "tier": "auto", "num_layers": 2, "dropout": 0.0},
    "linear": BASE | {"cell": "min-gru", "tier": "auto"},
    "own sequence": BASE | {"cell": "xlstm-mlstm", "tier": "auto"},
    "mogrifier": BASE | {"cell": "mogrifier-lstm", "tier": "plain"},
    "dropout of all kinds": BASE
    | {"weight_drop": 0.3, "locked": True, "word_dropout": 0.1, "activation_penalty": 2.0, "temporal_penalty": 1.0},
    "projection": BASE | {"projection_size": 2, "cell": "lstm", "cell_clip": 3.0, "residual": True, "norm": "layer"},
    "mixture": BASE | {"output": "mixture", "experts": 2},
    "window": {"name": "window", "hidden_size": 4, "dropout": 0.2},
}  # fmt: skip


@pytest.fixture(autouse=True)
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss on a CPU reads a value; that by a kernel does not."""
    monkeypatch.setattr(output, "row_losses_for", lambda _: by_torch)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch):
    """That of benchmarks/recorded_calls.py."""
    import importlib
    from pathlib import Path

    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    return importlib.import_module("recorded_calls").CallRecorder()


class Never:
    """A recorder whose steps are all computed as those that are recorded later."""

    def warm_up(self, work):
        return work()

    def record(self, work):
        raise AssertionError


def trained(launches, table, recorder=None, *, steps=18, change=None, **options):
    """The trainer, its figures, and its values after some steps, which read the text several times."""
    torch.manual_seed(0)
    made = launches.trainer(table, device=CPU, max_steps=steps, **SIZES, **options)
    if recorder is not None:
        made.graphs = StepGraphs(made.model, made._window_gradients, recorder)
    if change is not None:
        change(made)
    figures = []
    made._report = lambda done, _: figures.append(done.figures)
    torch.manual_seed(1)
    made.run()
    return made, figures, [*made.model.parameters(), *leaves_of(made.hidden), torch.get_rng_state()]


def leaves_of(state) -> list[Tensor]:
    return [leaf for part in state for leaf in leaves_of(part)] if isinstance(state, tuple) else [state]


def assert_same(launches, recorder, table, *, least: int, **options):
    """The bits of a training are those of steps that are not recorded; at least so many steps are repeated.

    Masks of resets at every step add up gradients in another order than at some, which changes the last bits. They
    are there with the option, recorded or not, so that a resumed training has the bits of an uninterrupted one.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step_graph, "WARM_UPS", 1000)
        _, wanted, values = trained(launches, table, Never(), **options)
    made, found, own = trained(launches, table, recorder, **options)
    assert recorder.launches >= least
    assert found == wanted
    assert all(torch.equal(a, b) for a, b in zip(own, values, strict=True))
    _, plain, _ = trained(launches, table, **options)
    assert [step.loss for step in found] == pytest.approx([step.loss for step in plain], rel=1e-4)
    return made


@pytest.mark.parametrize("name", MODELS)
def test_recorded_steps_have_the_bits_of_others(launches, recorder, name):
    """Losses, weights, states and random numbers, with resets at other places in each window."""
    assert_same(launches, recorder, MODELS[name], least=5)


@pytest.mark.parametrize(
    "options",
    [{"precision": "bf16"}, {"optimizer": "sgd", "momentum": 0.5}, {"schedule": "one-cycle"}, {"average": 0.9},
     {"clip_norm": 0.01}, {"freeze": "embedding"}],
    ids=lambda options: next(iter(options)),
)  # fmt: skip
def test_what_is_outside_the_recorded_step(launches, recorder, options):
    """Rates, momenta, clipping and averages change from step to step; frozen parameters get no gradient."""
    table = BASE | ({"tied": False} if "freeze" in options else {})
    assert_same(launches, recorder, table, least=5, **options)


def test_windows_of_different_lengths(launches, recorder):
    """Each length has a graph, up to a number; others are computed as usual."""
    made = assert_same(launches, recorder, BASE, least=1, vary_bptt=True, steps=60)
    assert 1 <= made.graphs.recorded <= MOST_GRAPHS


def test_no_more_than_some_graphs(launches, recorder, monkeypatch):
    """Each keeps the memory of a step."""
    monkeypatch.setattr(step_graph, "MOST_GRAPHS", 1)
    made = assert_same(launches, recorder, BASE, least=1, vary_bptt=True, steps=60)
    assert made.graphs.recorded == 1
    assert len(made.graphs._shapes) > 1


def test_a_window_with_few_resets_is_not_recorded(launches, recorder):
    """torch's kernel runs from one reset to the next, at other places in each window."""
    table = BASE | {"cell": "lstm", "tier": "auto", "reset": "document"}
    made = launches.trainer(table, device=CPU, max_steps=18, **(SIZES | {"bptt": 24}))
    made.graphs = StepGraphs(made.model, made._window_gradients, recorder)
    first = made.streams.window(0)
    assert len(reset_steps(first.reset.t())) == 1
    made.run()
    # The first window of each epoch has the reset of the document; the two others have none, and differ in length.
    assert recorder.launches == 2 * (6 - WARM_UPS)
    assert made.graphs.recorded == 2


def test_a_bad_step_is_skipped_and_named(launches, recorder):
    """A recorded step that gives NaN leaves the weights as they were, and the training ends with its number."""

    kept = []

    def spoil(made):
        made._figures.read_at_once = False
        made._figures._read_at = math.inf
        made._reads_after = lambda _: False
        graphs = made.graphs

        def spoiling(window, hidden):
            kept.append([p.detach().clone() for p in made.model.parameters()])
            loss, after = graphs(window, hidden)
            if len(kept) == 9:
                made.model.output.bias.grad.fill_(math.nan)
            return loss, after

        made.graphs = spoiling

    with pytest.raises(DivergedError, match="the norm of the gradient became nan at step 9"):
        trained(launches, BASE, recorder, change=spoil)
    before, after, last = kept[8], kept[9], kept[17]
    assert recorder.launches > 3
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(after, last, strict=True))


def test_cells_that_still_count_their_work_are_not_recorded(launches, recorder):
    """Their steps may be compiled later, at the same step as without a graph and after resuming."""
    _, figures, _ = trained(launches, BASE | {"tier": "auto"}, recorder)
    assert len(figures) == 18
    assert recorder.launches == 0


@pytest.mark.parametrize("output_layer", ["adaptive", "sampled"])
def test_steps_that_read_their_window_are_not_recorded(launches, recorder, output_layer, caplog):
    """One note says why, and the training is the one without."""
    table = BASE | {"output": output_layer, "tied": False}
    assert_same(launches, recorder, table, least=0)
    assert recorder.launches == 0
    notes = [r.getMessage() for r in caplog.records if "CUDA graph" in r.getMessage()]
    assert notes == 2 * [
        "the training step is not recorded as a CUDA graph, since it depends on values that the host reads from each "
        "window"
    ]


def test_a_step_that_cannot_be_recorded_runs_without(launches, recorder, caplog):
    """An error while it is recorded is a note; the step is computed after all, with the gradients of one."""

    def spoil(made):
        step_loss = made.model.step_loss

        def reads(window, state):
            loss, state = step_loss(window, state)
            float(loss.detach())
            return loss, state

        made.model.step_loss = reads

    assert_same(launches, recorder, BASE, least=0, change=spoil)
    assert recorder.launches == 0
    (note,) = [r.getMessage() for r in caplog.records if "CUDA graph" in r.getMessage()]
    assert "operation not permitted when stream is capturing" in note


def test_parameters_in_other_memory_are_another_step(launches, recorder):
    """A graph reads parameters where they were."""

    def change(made):
        graphs, calls = made.graphs or made._window_gradients, []

        def moving(window, hidden):
            calls.append(1)
            if len(calls) == 9:
                for parameter in made.model.parameters():
                    parameter.data = parameter.data.clone()
            return graphs(window, hidden)

        made.graphs = moving

    assert_same(launches, recorder, BASE, least=1, change=change)
    assert recorder.launches < 18 - 3 * WARM_UPS


def test_the_recording_is_announced_once(launches, recorder, caplog):
    """As a tier is."""
    caplog.set_level(logging.INFO)
    trained(launches, BASE | {"reset": "never"}, recorder)
    assert [r.getMessage() for r in caplog.records].count("the training step: recorded as a CUDA graph") >= 1


def test_while_a_step_is_recorded_every_step_may_have_a_reset():
    """And whoever reads a value, or sends one, is seen."""
    resets = torch.tensor([[False], [True]])
    assert reset_steps(resets) == {1}
    with host_copies.recording() as seen:
        assert reset_steps(resets) == {0, 1}
        assert not host_copies.values_known()
        assert not seen.depends
        host_copies.on_host(resets)
        assert seen.depends
    with host_copies.recording() as seen:
        host_copies.send(resets, CPU)
    assert seen.depends
    assert host_copies.values_known()


def test_a_cpu_records_nothing(launches):
    """The option asks for graphs on a GPU."""
    assert launches.trainer(BASE, device=CPU, cuda_graph=True, **SIZES).graphs is None


@pytest.fixture
def cuda(monkeypatch) -> list[str]:
    """What is asked of a card that is not there."""
    said: list[str] = []

    class Stream:
        def __init__(self, name):
            self.name = name

        def wait_stream(self, other):
            said.append(f"{self.name} waits for {other.name}")

    class Graph:
        pool = staticmethod(lambda: "a pool")
        replay = staticmethod(lambda: said.append("launched"))

    def graph(made, pool, stream):
        said.append(f"recorded on {stream.name} in {pool}")
        return contextlib.nullcontext()

    class Generator:
        def clone_state(self):
            return "a copy"

        def graphsafe_set_state(self, state):
            said.append(f"generator has {state}")

    parts = {"Stream": lambda _: Stream("own"), "current_stream": lambda _: Stream("current"), "CUDAGraph": Graph,
            "stream": lambda _: contextlib.nullcontext(), "device": lambda _: contextlib.nullcontext(),
            "graph": graph, "default_generators": [Generator()],
            "set_stream": lambda stream: said.append(f"on {stream.name}")}  # fmt: skip
    for name, stand_in in parts.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    return said


def test_cuda_graphs_are_recorded_on_a_stream_and_share_memory(cuda):
    """Each stream waits for what the other was asked to do; the second graph takes the memory of the first."""
    recorder = step_graph.CudaRecorder(torch.device("cuda", 0))
    assert recorder.warm_up(lambda: cuda.append("work") or 1) == 1
    for _ in range(2):
        found, launch = recorder.record(lambda: 2)
        assert found == 2
    launch()
    assert cuda == ["own waits for current", "work", "current waits for own", "recorded on own in None",
                    "recorded on own in a pool", "launched"]  # fmt: skip


def test_a_failed_recording_leaves_stream_and_generator_as_they_were(cuda):
    """torch's own end of a recording does not, and its generator would refuse every later draw."""
    recorder = step_graph.CudaRecorder(torch.device("cuda", 0))
    with pytest.raises(ZeroDivisionError):
        recorder.record(lambda: 1 / 0)
    assert cuda == ["recorded on own in None", "on current", "generator has a copy"]
