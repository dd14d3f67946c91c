"""The loop in C++: it calls the kernels that Python would call, and where it cannot, Python does."""

import logging

import pytest
import torch
from lmkit_cells.gru_v3 import GRUv3Cell
from lmkit_recurrent.lstm import LSTMCell
from torch import Tensor

from lmkit.recurrence import GatedCell, native, native_steps, tiers
from lmkit.recurrence import gradients as window_gradients
from lmkit.recurrence.projection import ProjectedCell

INPUT, HIDDEN, BATCH, TIME = 5, 29, 27, 6
"""More than one block of the loop's products in rows and columns, and none of the last ones full."""

KNOWN = torch.__version__.startswith(("2.13.", "2.14."))
"""Versions of torch in which the loop is known to be used; in others it may be left out."""


def gradients(cell: GatedCell, tier: str, rows: int = BATCH) -> list[Tensor]:
    """Outputs, the last state, and the gradients of all weights and inputs, with resets."""
    torch.manual_seed(5)
    xs = torch.randn(TIME, rows, INPUT, dtype=cell.weight_ih.dtype, requires_grad=True)
    start = tuple(torch.randn_like(s).requires_grad_() for s in cell.initial_state(rows))
    resets = torch.rand(TIME, rows) < 0.2
    cell.use_tier(tier)
    cell.zero_grad()
    ys, last = cell.sequence(xs, start, resets)
    torch.autograd.backward([ys, *last], [torch.randn_like(t) for t in (ys, *last)])
    sources = (xs, *start, *cell.parameters())
    return [ys, *last, *(torch.zeros_like(t) if t.grad is None else t.grad for t in sources)]


def loop_of(cell: GatedCell) -> native.NativeLoop | None:
    (kernels,) = tiers._history(cell).kernels.values()
    return kernels.loop


@pytest.mark.parametrize("threads", [1, 2])
def test_the_loop_equals_the_definition(threads, monkeypatch):
    """Products of several blocks, a projection with a clip, resets: outputs and gradients are those of plain steps."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        cell = ProjectedCell(LSTMCell(INPUT, HIDDEN), 26, projection_clip=0.3, cell_clip=0.8).double()
        found, wanted = gradients(cell, "compiled"), gradients(cell, "plain")
    finally:
        torch.set_num_threads(before)
    assert loop_of(cell) is not None or not KNOWN
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("intel", [False, True])
@pytest.mark.parametrize("rows", [2, 25])
def test_any_batch_and_either_order_of_products(rows, intel, monkeypatch):
    """Blocks of few rows, blocks as for Intel's processors, and products of inputs before the loop or inside it."""
    for module in (native, native_steps, window_gradients):
        monkeypatch.setattr(module, "mkl_leads", lambda: intel)
    cell = LSTMCell(INPUT, HIDDEN).double()
    found, wanted = gradients(cell, "compiled", rows), gradients(cell, "plain", rows)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_a_product_inside_gates_is_called_from_python(caplog):
    """A step that is more than kernels has the same numbers without a loop in C++, and the log says why."""
    cell = GRUv3Cell(INPUT, HIDDEN).double()
    with caplog.at_level(logging.INFO):
        found, wanted = gradients(cell, "compiled"), gradients(cell, "plain")
    assert loop_of(cell) is None
    assert "does more than call kernels" in caplog.text or not KNOWN
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_kernels_without_addresses_have_no_loop():
    """Whatever is not a function by inductor is refused with a reason."""
    one = (lambda tensors: None, [torch.zeros(2)])
    with pytest.raises(native.NoLoopError, match="version of torch"):
        native.native_loop(one, one)
