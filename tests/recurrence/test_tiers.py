"""Tiers: every way through a window gives the same numbers, and the choice among them follows its rules."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from lmkit_recurrent.gru import GRUCell
from lmkit_recurrent.lstm import LSTMCell
from torch import Tensor, nn

from lmkit import states
from lmkit.errors import UsageError
from lmkit.notes import NOTE
from lmkit.recurrence import Cell, GatedCell, LinearCell, Recurrent, compiling, engine, tiers
from lmkit.recurrence.linear_scan import linear_scan
from lmkit.recurrence.projection import ProjectedCell

INPUT, HIDDEN, BATCH, TIME = 5, 8, 3, 7


class EverythingCell(GatedCell):
    """A cell with all that kernels must get right: peepholes, a norm, a buffer, x apart from h, a learned start."""

    num_gates = 2
    state_names = ("h", "c")

    def __init__(self, input_size: int, hidden_size: int, options: Any = None) -> None:
        super().__init__(input_size, hidden_size, options)
        self.peephole = nn.Parameter(torch.randn(hidden_size))
        self.norm = nn.LayerNorm(hidden_size)
        self.start = nn.Parameter(torch.randn(hidden_size))
        self.register_buffer("scale", torch.tensor(0.7))
        self.temperature = 1.0

    def initial_state(self, batch_size: int) -> tuple[Tensor, ...]:
        return (self.start.expand(batch_size, -1), torch.tanh(self.start).expand(batch_size, -1))

    def gates(self, x: Tensor, h: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        before, c = state
        gate = torch.sigmoid(x[..., : self.hidden_size] + h[..., : self.hidden_size] + self.peephole * c)
        new = torch.tanh(x[..., self.hidden_size :] * h[..., self.hidden_size :] / self.temperature)
        c = gate * c + (1 - gate) * new
        c += self.scale * before
        return torch.sigmoid(gate) * self.norm(c), c


class DryCell(GatedCell):
    """No recurrent product, one state, which gates do not read."""

    recurrent = False

    def gates(self, x: Tensor, h: Tensor, state: tuple[Tensor, ...]) -> Tensor:
        return torch.tanh(x)


class RandomCell(DryCell):
    def gates(self, x: Tensor, h: Tensor, state: tuple[Tensor, ...]) -> Tensor:
        return F.dropout(torch.tanh(x) + state[0], 0.5)


class ChangingCell(DryCell):
    def gates(self, x: Tensor, h: Tensor, state: tuple[Tensor, ...]) -> Tensor:
        x.tanh_()
        return x + state[0]


class DependentCell(DryCell):
    def gates(self, x: Tensor, h: Tensor, state: tuple[Tensor, ...]) -> Tensor:
        return torch.tanh(x) + (state[0] if float(x.detach().sum()) > 0 else 0 * state[0])


def projected(made: type[GatedCell], **settings: Any) -> Callable[[int, int], Cell]:
    return lambda input_size, hidden_size: ProjectedCell(made(input_size, hidden_size), **settings)


PROJECTED = {
    "projected": projected(LSTMCell, projection_size=3),
    "projected and clipped": projected(
        EverythingCell, projection_size=10, projection_clip=0.2, cell_clip=0.4
    ),
    "projected, one state": projected(GRUCell, projection_size=3, projection_clip=0.1),
    "clipped": projected(LSTMCell, cell_clip=0.1),
}
CELLS = {made.__name__: made for made in (EverythingCell, DryCell, GRUCell, LSTMCell)} | PROJECTED


@pytest.fixture
def without_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels are the graphs that would be compiled, run operation by operation."""
    monkeypatch.setattr(compiling, "compiled", compiling.uncompiled)


def run(
    cell: Cell, tier: str, resets: Tensor | None = None, time: int = TIME, dtype: torch.dtype = torch.float64
) -> dict[str, Tensor]:
    """Outputs, last state and gradients of both with respect to everything, by one tier."""
    torch.manual_seed(3)
    xs = torch.randn(time, BATCH, INPUT, dtype=dtype).requires_grad_()
    start = states.apply(lambda t: torch.randn_like(t).requires_grad_(), cell.initial_state(BATCH))
    cell.use_tier(tier)
    cell.zero_grad()
    ys, last = cell.sequence(xs, start, resets)
    leaves = states.leaves(last)
    # Weights that differ everywhere; transposed, so that the gradients that arrive lie otherwise than the outputs.
    weighted = [t.mT * torch.arange(t.numel()).view_as(t.mT).cos() for t in (ys, *leaves)]
    sum(t.sum() for t in weighted).backward()  # pyright: ignore
    sources = {"xs": xs, **dict(enumerate(states.leaves(start))), **dict(cell.named_parameters())}
    gradients = {f"d {n}": torch.zeros_like(t) if t.grad is None else t.grad for n, t in sources.items()}
    return {"ys": ys.detach(), **{f"last {i}": t.detach() for i, t in enumerate(leaves)}, **gradients}


def some_resets(time: int = TIME) -> Tensor:
    resets = torch.zeros(time, BATCH, dtype=torch.bool)
    resets[0, 0] = resets[3, :2] = resets[4, 1] = resets[-1, 2] = True
    # As a batch-first model hands it on.
    return resets.t().contiguous().t()


def assert_same(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    for name, tensor in wanted.items():
        torch.testing.assert_close(
            found[name], tensor, rtol=1e-10, atol=1e-10, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("resetting", [False, True])
@pytest.mark.parametrize("made", CELLS.values(), ids=CELLS)
def test_compiled_graphs_equal_the_definition(made, resetting, without_compiler):
    """What is compiled gives the plain loop's outputs and gradients: parameters in gates, resets, carried states."""
    torch.manual_seed(0)
    cell = made(INPUT, HIDDEN).double()
    resets = some_resets() if resetting else None
    assert_same(run(cell, "compiled", resets), run(cell, "plain", resets))
    assert_same(run(cell, "loop", resets), run(cell, "plain", resets))


@pytest.mark.parametrize("made", [EverythingCell, GRUCell, PROJECTED["projected and clipped"]])
def test_compiled_kernels_equal_the_definition(made):
    """The same by inductor's own kernels, in float64 and, less closely, in float32."""
    torch.manual_seed(0)
    cell = made(INPUT, HIDDEN).double()
    assert_same(run(cell, "compiled", some_resets()), run(cell, "plain", some_resets()))
    cell.float()
    found, wanted = (run(cell, tier, some_resets(), dtype=torch.float32) for tier in ("compiled", "plain"))
    for name, tensor in wanted.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-4)


def test_torch_kernel_is_interrupted_by_resets():
    """torch's kernel, which knows no resets, gives the loop's numbers between and after them."""
    torch.manual_seed(0)
    cell = LSTMCell(INPUT, HIDDEN).double()
    assert_same(run(cell, "torch", some_resets()), run(cell, "plain", some_resets()))


def test_long_windows_are_walked_in_parts(without_compiler, monkeypatch):
    """A window longer than STEPS_AT_ONCE, resets at the seam included, is the same as in one part."""
    monkeypatch.setattr(engine, "STEPS_AT_ONCE", 3)
    torch.manual_seed(0)
    for made in (EverythingCell, PROJECTED["projected and clipped"]):
        cell = made(INPUT, HIDDEN).double()
        for tier in ("compiled", "loop"):
            assert_same(run(cell, tier, some_resets()), run(cell, "plain", some_resets()))


@pytest.mark.parametrize("made", [RandomCell, DependentCell])
def test_gates_that_cannot_be_compiled_run_by_the_loop(made, caplog):
    """Random numbers, which a second computation would not repeat, and choices by value: the loop, and one warning."""
    torch.manual_seed(0)
    cell = made(INPUT, HIDDEN).double()
    with caplog.at_level(NOTE):
        found = run(cell, "compiled")
        run(cell, "compiled")
    assert_same(found, run(cell, "loop"))
    (message,) = caplog.messages
    assert message.startswith(f"{made.__name__}: its step is not compiled")


def test_gates_that_change_their_arguments_are_not_compiled():
    """A kernel would change what the engine keeps for the gradient."""
    cell = ChangingCell(INPUT, HIDDEN)
    with pytest.raises(compiling.NotCompilableError, match="in place"):
        compiling.make_kernels(
            cell, torch.zeros(BATCH, HIDDEN), cell.initial_state(BATCH), compiling.uncompiled
        )


def test_without_a_cpp_compiler_the_loop_runs(caplog, monkeypatch, tmp_path):
    """Where no C++ compiler is found the numbers are the loop's, and a warning says so once."""
    from torch._inductor import config

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(config.cpp, "cxx", (str(tmp_path / "no-compiler"),))
    torch.manual_seed(0)
    cell = GRUCell(INPUT, HIDDEN + 3).double()
    with caplog.at_level(NOTE):
        found = run(cell, "compiled")
        run(cell, "compiled")
    assert_same(found, run(cell, "loop"))
    (message,) = caplog.messages
    assert "GRUCell" in message
    assert "compiler" in message


def test_a_setting_of_the_cell_makes_its_own_kernels(without_compiler):
    """Plain attributes that gates read are not frozen into a kernel."""
    torch.manual_seed(0)
    cell = EverythingCell(INPUT, HIDDEN).double()
    run(cell, "compiled")
    cell.temperature = 0.5
    assert_same(run(cell, "compiled"), run(cell, "plain"))


def test_endless_compiling_is_given_up(without_compiler, caplog):
    """A cell whose settings change with every window is left to the loop after MOST_KERNELS."""
    cell = EverythingCell(INPUT, HIDDEN).double()
    with caplog.at_level(NOTE):
        for step in range(tiers.MOST_KERNELS + 2):
            cell.temperature = 1.0 + step
            run(cell, "compiled")
    assert len(caplog.messages) == 1


def picked(cell: GatedCell, resets: Tensor | None = None, time: int = 36) -> str:
    return tiers.pick(cell, torch.zeros(time, BATCH, INPUT), resets)


def test_auto_takes_torchs_lstm_unless_resets_are_many():
    """On a CPU torch's kernel runs the LSTM, with one reset in a window too, but not with one every few steps."""
    cell = LSTMCell(INPUT, HIDDEN)
    few, many = torch.zeros(36, BATCH, dtype=torch.bool), torch.zeros(36, BATCH, dtype=torch.bool)
    few[7], many[::5] = True, True
    assert [picked(cell), picked(cell, few), picked(cell, many)] == ["torch", "torch", "loop"]
    assert picked(GRUCell(INPUT, HIDDEN)) == "loop"


@pytest.mark.parametrize("intel", [False, True])
def test_auto_compiles_an_lstm_with_two_resets_in_a_window(intel, monkeypatch):
    """Torch's kernel is left for compiled steps once these are there, where they were measured to be faster."""
    cell, resets = LSTMCell(INPUT, HIDDEN), torch.zeros(36, BATCH, dtype=torch.bool)
    resets[[7, 20]] = True
    monkeypatch.setattr(tiers, "mkl_leads", lambda: intel)
    monkeypatch.setattr(tiers, "COMPILE_AFTER", 2 * 36 * tiers.STEP_OVERHEAD)
    found = [picked(cell, resets) for _ in range(3)]
    assert found == ["torch", "torch", "torch" if intel else "compiled"]
    assert picked(cell) == "torch"
    with torch.no_grad():
        assert picked(cell, resets) == "torch"


def test_auto_compiles_after_enough_training(monkeypatch):
    """Compiling waits for COMPILE_AFTER, counted for each batch size, and never happens without gradients."""
    cell = GRUCell(INPUT, HIDDEN)
    monkeypatch.setattr(tiers, "COMPILE_AFTER", 3 * 36 * tiers.STEP_OVERHEAD)
    with torch.no_grad():
        assert {picked(cell) for _ in range(9)} == {"loop"}
    assert [picked(cell) for _ in range(5)] == ["loop"] * 3 + ["compiled"] * 2
    with torch.no_grad():
        assert picked(cell) == "loop"
    assert tiers.pick(cell, torch.zeros(36, BATCH + 1, INPUT), None) == "loop"


def test_a_resumed_training_compiles_where_the_whole_one_did(monkeypatch, without_compiler):
    """With `progress` restored, windows after a pause have the bits of those of a run that never stopped."""
    monkeypatch.setattr(tiers, "COMPILE_AFTER", 3 * TIME * tiers.STEP_OVERHEAD)
    torch.manual_seed(0)
    whole = Recurrent(INPUT, HIDDEN, 2, GRUCell)
    resumed = Recurrent(INPUT, HIDDEN, 2, GRUCell)
    resumed.load_state_dict(whole.state_dict())
    xs = torch.randn(6, BATCH, TIME, INPUT)
    outputs = [whole(x)[0] for x in xs[:2]]
    saved = tiers.progress(whole)
    outputs += [whole(x)[0] for x in xs[2:]]
    tiers.restore_progress(resumed, saved)
    for x, y in zip(xs[2:], outputs[2:], strict=True):
        assert torch.equal(resumed(x)[0], y)
    assert tiers.progress(resumed) == tiers.progress(whole)


def test_the_log_names_the_tier_once(caplog):
    """What a cell runs by is in the log when it runs first."""
    cell = LSTMCell(INPUT, HIDDEN)
    with caplog.at_level(logging.INFO, logger="lmkit.recurrence.tiers"):
        for _ in range(2):
            cell.sequence(torch.zeros(2, BATCH, INPUT), cell.initial_state(BATCH))
    assert caplog.messages == ["LSTMCell: torch's own kernel"]


def test_a_tier_that_a_cell_has_not_is_refused():
    """Forcing a tier is an error that lists those of the cell."""
    with pytest.raises(
        UsageError, match="LinearOne has no tier 'compiled'; give --tier one of auto, loop, plain"
    ):
        Recurrent(INPUT, HIDDEN, 1, LinearOne, tier="compiled")
    with pytest.raises(UsageError, match="EverythingCell has no tier 'torch'"):
        EverythingCell(INPUT, HIDDEN).use_tier("torch")


class LinearOne(LinearCell):
    num_gates = 2

    def coefficients(self, z: Tensor) -> tuple[Tensor, Tensor]:
        a, b = z.chunk(2, -1)
        return torch.sigmoid(a), b


def test_plain_is_the_definition_of_any_cell():
    """`--tier plain` runs a cell's forward, whatever its own `sequence` is."""

    class Wrong(LinearOne):
        def sequence(self, xs, state, resets=None):
            if len(xs) > 1:
                raise AssertionError("the plain loop goes step by step")
            return super().sequence(xs, state, resets)

    assert Wrong.tiers() == ("own", "plain")
    layers = Recurrent(INPUT, HIDDEN, 1, Wrong, tier="plain")
    assert layers(torch.zeros(BATCH, TIME, INPUT))[0].shape == (BATCH, TIME, HIDDEN)


def test_a_carried_state_does_not_keep_its_window(without_compiler):
    """The last state has separate memory: carrying it frees the states of the window."""
    cell = GRUCell(INPUT, HIDDEN)
    cell.use_tier("compiled")
    _, (h,) = cell.sequence(torch.randn(TIME, BATCH, INPUT), cell.initial_state(BATCH))
    assert h.untyped_storage().nbytes() == h.numel() * h.element_size()


def test_a_dropped_recurrent_weight_is_what_runs(without_compiler):
    """A W_hh put in the place of the parameter, as weight drop does, has the gradient."""

    class Sequence(nn.Module):
        def __init__(self, cell: Cell) -> None:
            super().__init__()
            self.cell = cell

        def forward(self, *window: Any) -> Any:
            return self.cell.sequence(*window)

    torch.manual_seed(0)
    cell = GRUCell(INPUT, HIDDEN).double()
    xs = torch.randn(TIME, BATCH, INPUT, dtype=torch.float64)
    gradients = []
    for tier in ("compiled", "plain"):
        cell.use_tier(tier)
        dropped = (cell.weight_hh.detach() * 0.5).requires_grad_()
        ys, _ = torch.func.functional_call(
            Sequence(cell), {"cell.weight_hh": dropped}, (xs, cell.initial_state(BATCH))
        )
        gradients += torch.autograd.grad(ys.square().sum(), dropped)
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-10)


def test_linear_scan_has_its_gradient():
    """The hand-written gradient agrees with finite differences, resets and the blank state included."""
    torch.manual_seed(0)
    a, b = (torch.rand(TIME, BATCH, 2, dtype=torch.float64, requires_grad=True) for _ in range(2))
    h, blank = (torch.rand(BATCH, 2, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(linear_scan, (a, b, h))
    assert torch.autograd.gradcheck(linear_scan, (a, b, h, blank, some_resets()))
