"""The kernel for a whole window in Triton's interpreter: run by test_window_kernel, with TRITON_INTERPRET set."""

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lmkit import states
from lmkit.plugins import registry
from lmkit.recurrence import GatedCell, engine, tiers
from lmkit.recurrence.gpu import kernel as kernels
from lmkit.recurrence.gpu.kernel import Sizes, WindowKernel, make_window_kernel
from lmkit.recurrence.projection import ProjectedCell
from lmkit.recurrence.stack import cell_maker
from lmkit.recurrence.tracing import NotCompilableError
from tests.recurrence.programs_in_turns import InTurns
from tests.recurrence.test_tiers import DryCell, EverythingCell

TIME, INPUT = 3, 7
TOLERANCES = {torch.float32: 2e-6, torch.bfloat16: 2e-2}
"""Differences from float64 relative to the norm of each result."""


class FirstCell(GatedCell):
    """The cell of README."""

    num_gates = 3
    state_names = ("h", "c")

    def gates(self, x: Tensor, h: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        f, g, o = (x + h).chunk(3, -1)
        c = state[1]
        f = torch.sigmoid(f + c)
        c = f * c + (1 - f) * nn.functional.silu(g)
        return torch.sigmoid(o) * torch.tanh(c), c


class MovingCell(GatedCell):
    """Gates taken by views, a parameter beside each unit, a maximum of several, a softmax over units, bounds."""

    num_gates = 2
    state_names = ("h", "c")

    def __init__(self, input_size: int, hidden_size: int, options: Any = None) -> None:
        super().__init__(input_size, hidden_size, options)
        self.pairs = nn.Parameter(torch.rand(hidden_size, 2))

    def gates(self, x: Tensor, h: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        a, b = (x.unflatten(-1, (2, -1)) * self.pairs.t()).unbind(-2)
        i, j = h.chunk(2, -1)
        share = torch.softmax(torch.stack([a, i, a * i]).amax(0), -1)
        c = (state[1] - share.mean(-1, keepdim=True)).clamp(min=-0.5) * torch.sigmoid(b)
        return (c + share * j).clamp(-0.3, 0.4), c


class InterleavedCell(DryCell):
    num_gates = 2

    def gates(self, x: Tensor, h: Tensor, state: tuple[Tensor, ...]) -> Tensor:
        a, b = x.unflatten(-1, (-1, 2)).unbind(-1)
        return torch.tanh(a) * b


class MixingCell(DryCell):
    def gates(self, x: Tensor, h: Tensor, state: tuple[Tensor, ...]) -> Tensor:
        return torch.tanh(x - x.mean(0)) + state[0]


class ShufflingCell(DryCell):
    def gates(self, x: Tensor, h: Tensor, state: tuple[Tensor, ...]) -> Tensor:
        return torch.tanh(x) + state[0].unflatten(-1, (-1, 2)).transpose(-1, -2).flatten(-2)


class CountingRowsCell(DryCell):
    """A cell that depends on the size of the batch, which the kernel is not made for."""

    def gates(self, x: Tensor, h: Tensor, state: tuple[Tensor, ...]) -> Tensor:
        return torch.tanh(x) * len(x) + state[0]


def shipped() -> list[str]:
    """The built-in cells whose products the engine makes."""
    names = [part.display_name for part in registry().parts("cell") if part.plugin.builtin]
    return [name for name in names if isinstance(cell_maker(name)(2, 4), GatedCell)]


MADE: dict[str, Callable[[int, int], Any]] = {
    **{name: cell_maker(name) for name in shipped()},
    "README's": FirstCell,
    "everything": EverythingCell,
    "moving": MovingCell,
    "clipped": lambda inputs, hidden: ProjectedCell(cell_maker("lstm")(inputs, hidden), cell_clip=0.2),
}


@pytest.fixture(autouse=True)
def interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels run in Triton's interpreter; programs have 16 rows and 32 units."""
    monkeypatch.setattr(kernels, "sizes", lambda *given: Sizes(16, 32))


SIZES = kernels.sizes


def results(
    cell: GatedCell, way: WindowKernel | None, rows: int, *, resets: bool, dtype: torch.dtype
) -> dict[str, Tensor]:
    """Outputs, last state and gradients by a window kernel, or by the cell's own steps."""
    torch.manual_seed(3)
    mask = torch.rand(TIME, rows) < 0.3 if resets else None
    xs = torch.randn(TIME, rows, INPUT).to(dtype).requires_grad_()
    start = tuple(
        torch.rand_like(s, dtype=torch.float32).to(dtype).requires_grad_() for s in cell.initial_state(rows)
    )
    cell.to(dtype).zero_grad()
    if way is None:
        ys, last = engine.each_step(cell, cell, xs, start, mask)
    else:
        ys, last = engine.kernel_window(cell, way, xs, start, mask)
    torch.autograd.backward([ys, *last], [torch.randn(t.shape).to(dtype) for t in (ys, *last)])  # pyright: ignore
    sources = {"xs": xs, **{f"start {i}": s for i, s in enumerate(start)}, **dict(cell.named_parameters())}
    gradients = {f"d {n}": torch.zeros_like(t) if t.grad is None else t.grad for n, t in sources.items()}
    return {
        "ys": ys.detach(),
        **{f"last {i}": t.detach() for i, t in enumerate(states.leaves(last))},
        **gradients,
    }


def compare(
    cell: GatedCell,
    way: WindowKernel,
    rows: int,
    *,
    dtype: torch.dtype = torch.float32,
    ways: tuple[bool, ...] = (False, True),
) -> None:
    for resets in ways:
        found = results(cell, way, rows, resets=resets, dtype=dtype)
        wanted = results(cell, None, rows, resets=resets, dtype=torch.float64)
        for name, value in wanted.items():
            error = (found[name].double() - value).norm() / value.norm().clamp_min(1e-3)
            assert error < TOLERANCES[dtype], f"{name} differs by {error:.1e}, resets: {resets}"


@pytest.mark.parametrize("name", MADE)
def test_the_kernel_equals_the_definition(name):
    """Outputs, states and every gradient, with and without resets; the last block of rows and units is not full."""
    torch.manual_seed(1)
    cell = MADE[name](INPUT, 20)
    compare(cell, make_window_kernel(cell), rows=18)


@pytest.mark.parametrize("name", ["lstm", "gru-v3", "layer-norm-lstm", "xlstm-slstm", "moving"])
def test_programs_that_share_the_units_meet(name, monkeypatch):
    """Several programs for the same rows read what the others wrote: outputs, products and totals in `gates`."""
    monkeypatch.setattr(kernels, "sizes", lambda *given: Sizes(16, 16))
    torch.manual_seed(1)
    cell = MADE[name](INPUT, 40)
    made = make_window_kernel(cell)
    compare(cell, replace(made, functions=tuple(map(InTurns, made.functions))), rows=20, ways=(True,))


class WithFloat32Products:
    """Stands in for an interpreted kernel: the interpreter takes the bits of bfloat16 in a product for integers."""

    def __init__(self, kernel: Any) -> None:
        self._kernel = kernel

    def __getitem__(self, grid: tuple[int]) -> Callable[..., None]:
        def launch(*args: Any) -> None:
            named = zip(self._kernel.arg_names, args, strict=True)
            factors = ("panel", "weight")
            self._kernel[grid](*(a.float() if n.startswith(factors) else a for n, a in named))

        return launch


@pytest.mark.parametrize("name", ["gru", "layer-norm-lstm"])
def test_bfloat16_keeps_the_state_in_float32(name):
    """Inputs, weights, outputs and their gradients are in bfloat16; the state between the steps is not rounded."""
    torch.manual_seed(1)
    cell = MADE[name](INPUT, 20)
    made = make_window_kernel(cell)
    made = replace(made, functions=tuple(map(WithFloat32Products, made.functions)))
    compare(cell, made, rows=3, dtype=torch.bfloat16)


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (MixingCell, "adds up rows"),
        (InterleavedCell, "different tensors beside one another"),
        (ShufflingCell, "changes the order of units"),
        (partial(ProjectedCell, projection_size=3), "its output is projected"),
    ],
)
def test_cells_without_a_kernel_say_why(made, reason):
    """What programs cannot share is refused before anything runs."""
    cell = made(cell_maker("lstm")(INPUT, 8)) if isinstance(made, partial) else made(INPUT, 8)
    with pytest.raises(NotCompilableError, match=reason):
        make_window_kernel(cell)


def run_compiled(made: type[GatedCell], monkeypatch: pytest.MonkeyPatch) -> tuple[Tensor, Tensor]:
    """Outputs by the compiled tier, on a device that stands in for a GPU, and by the definition."""
    monkeypatch.setattr(tiers, "_WITH_WINDOW_KERNELS", {"cpu"})
    monkeypatch.setattr(tiers.compiling, "compiled", tiers.compiling.uncompiled)
    torch.manual_seed(1)
    cell = made(INPUT, 8)
    xs = torch.randn(TIME, 3, INPUT)
    found = []
    for tier in ("compiled", "compiled", "plain"):
        cell.use_tier(tier)
        ys, _ = cell.run(xs, cell.initial_state(3))
        found.append(ys.detach())
    torch.testing.assert_close(found[0], found[1])
    return found[0], found[2]


def test_the_compiled_tier_takes_the_kernel(monkeypatch, caplog):
    """The first window makes and tries the kernel, and the next ones use it."""
    with caplog.at_level(logging.INFO, logger="lmkit"):
        found, wanted = run_compiled(EverythingCell, monkeypatch)
    assert caplog.text.count("compiling a kernel for whole windows") == 1
    assert "its step" not in caplog.text
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


def test_a_kernel_that_differs_from_its_cell_is_not_used(monkeypatch, caplog):
    """A kernel for any batch cannot follow a cell that reads its size: the steps are compiled instead."""
    with caplog.at_level(logging.INFO, logger="lmkit"):
        found, wanted = run_compiled(CountingRowsCell, monkeypatch)
    assert "the kernel's output differs from the cell's" in caplog.text
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


def test_a_kernel_that_fails_is_not_used(monkeypatch, caplog):
    """Whatever Triton raises, training goes on with compiled steps."""
    monkeypatch.setattr(WindowKernel, "launch", lambda *given: 1 / 0)
    with caplog.at_level(logging.INFO, logger="lmkit"):
        found, wanted = run_compiled(FirstCell, monkeypatch)
    assert "the kernel fails (ZeroDivisionError)" in caplog.text
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


def test_programs_are_as_many_as_run_at_once():
    """Programs wait for one another, so more of them than processors would wait forever."""
    for rows, units in [(64, 650), (20, 200), (80, 1150), (1, 16)]:
        found = SIZES(rows, units, 132)
        assert found is not None
        assert found.programs(rows, units) <= 132
    assert SIZES(4096, 4096, 132) is None
