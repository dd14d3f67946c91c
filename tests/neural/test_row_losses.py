"""The kernel of the cross entropy: without a GPU in Triton's interpreter, compiled for two, and used where it fits."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lmkit.neural import output, row_losses
from lmkit.neural.output import OutputLayer
from lmkit.neural.row_losses import by_torch

HERE = Path(__file__).parent


@pytest.fixture
def probed(monkeypatch: pytest.MonkeyPatch):
    """Probes by a module in the place of the one with the kernel, without what other tests have found."""

    def by(module: object):
        monkeypatch.setattr(row_losses.importlib, "import_module", lambda _: module)
        return row_losses._probed

    row_losses._probed.cache_clear()
    yield by
    row_losses._probed.cache_clear()


class Kernel:
    """A module with a kernel."""

    row_losses = staticmethod(by_torch)


def test_the_kernel_in_the_interpreter() -> None:
    """Losses and gradients of float32 and bfloat16 are those of float64: chunks, weights, padding, NaN, underflow."""
    pytest.importorskip("triton", reason="needs Triton (pip install triton)")
    script = HERE / "rows_in_interpreter.py"
    done = subprocess.run(
        [sys.executable, script],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "all equal\n", done.stderr


@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize("logits", ["fp32", "bf16"])
def test_the_kernel_compiles(capability: int, logits: str) -> None:
    """For two generations of cards, without one."""
    triton = pytest.importorskip("triton", reason="needs Triton (pip install triton)")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from lmkit.neural import triton_rows

    signature = {"LOGITS": f"*{logits}", "BIAS": "*fp32", "TARGETS": "*i64", "SHARES": "*fp32", "LOSSES": "*fp32",
                 "vocabulary": "i32", "stride": "i32", "BLOCK": "constexpr"}  # fmt: skip
    source = ASTSource(triton_rows.kernel, signature, {"BLOCK": triton_rows.BLOCK})
    target = GPUTarget("cuda", capability, 32)
    made = triton.compile(source, target=target, options={"num_warps": triton_rows.WARPS})
    assert f".target sm_{capability}" in made.asm["ptx"]
    assert made.asm["cubin"]


def test_a_kernel_that_computes_something_else_is_refused(probed, caplog) -> None:
    """With one note that says by how much; the loss is then that of torch's operations."""

    class Wrong:
        @staticmethod
        def row_losses(*given: Tensor) -> Tensor:
            return by_torch(*given) + 0.01

    found = [probed(Wrong)(torch.device("cpu"), torch.float32) for _ in range(2)]
    assert found == [None, None]
    (note,) = caplog.records
    assert "(ArithmeticError: it differs from torch in losses: " in note.getMessage()


def test_a_kernel_that_cannot_be_used_is_refused(probed, caplog) -> None:
    """Without a compiler, with an old driver: whatever is raised is in the note."""

    class Broken:
        @property
        def row_losses(self) -> None:
            raise RuntimeError("no C compiler\nsecond line")

    assert probed(Broken())(torch.device("cpu"), torch.float32) is None
    assert caplog.records[0].getMessage().endswith("cannot be used here (RuntimeError: no C compiler)")


def test_a_right_kernel_is_announced_once(probed, caplog) -> None:
    """The probe draws no random numbers."""
    caplog.set_level(logging.INFO)
    before = torch.get_rng_state()
    for dtype in (torch.float32, torch.bfloat16, torch.float32):
        assert probed(Kernel)(torch.device("cpu"), dtype) is by_torch
    assert [r.getMessage() for r in caplog.records] == ["the loss: one kernel for each row of logits"] * 2
    assert torch.equal(before, torch.get_rng_state())


def test_a_cpu_has_no_kernel() -> None:
    """Nor has a type that no precision of a training uses."""
    assert row_losses.row_losses_for(torch.zeros(1)) is None
    assert row_losses.row_losses_for(torch.zeros(1, dtype=torch.float64)) is None


def test_the_loss_by_a_kernel_is_that_without(monkeypatch) -> None:
    """Through `OutputLayer.loss`, with and without gradients; a sampled softmax has no kernel."""
    torch.manual_seed(0)
    layer = OutputLayer(torch.nn.Parameter(torch.randn(11, 4)))
    x, y = torch.randn(6, 4, requires_grad=True), torch.randint(11, (6,))
    wanted = torch.autograd.grad(layer.loss(x, y), [x, *layer.parameters()])
    sampled = output.cross_entropy(x, layer.weight, layer.bias, y, None, torch.ones(11))
    calls = []
    kernel = lambda *given: calls.append(1) or by_torch(*given)  # noqa: E731
    monkeypatch.setattr(output, "row_losses_for", lambda _: kernel)
    found = torch.autograd.grad(layer.loss(x, y), [x, *layer.parameters()])
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs)
    with torch.no_grad():
        assert torch.allclose(layer.loss(x, y), torch.nn.functional.cross_entropy(layer.logits(x), y))
    assert calls == [1, 1]
    assert torch.equal(sampled, output.cross_entropy(x, layer.weight, layer.bias, y, None, torch.ones(11)))
    assert calls == [1, 1]
