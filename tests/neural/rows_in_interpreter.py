"""The kernel of the cross entropy in Triton's interpreter: run by test_row_losses, with TRITON_INTERPRET set."""

import itertools

import torch
from torch import Tensor
from triton.runtime.interpreter import InterpretedFunction

from lmkit.neural import output, row_losses, triton_rows
from lmkit.neural.output import OutputLayer


def losses_and_gradients(dtype: torch.dtype, layer: OutputLayer, x: Tensor, y: Tensor, w: Tensor | None):
    """By `OutputLayer.loss`, with casts as in a step of that precision."""
    given = (x.to(dtype), layer.weight.to(dtype), layer.bias)
    features, weight, bias = (t.detach().clone().requires_grad_() for t in given)
    loss = output.cross_entropy(features, weight, bias, y, w)
    (3 * loss).backward()
    return loss.detach(), features.grad, weight.grad, bias.grad


def exact(dtype: torch.dtype, layer: OutputLayer, x: Tensor, y: Tensor, w: Tensor | None):
    """The same in float64, from the same rounded inputs."""
    given = (x.to(dtype), layer.weight.to(dtype), layer.bias)
    features, weight, bias = (t.detach().double().requires_grad_() for t in given)
    rows = -torch.log_softmax(features @ weight.t() + bias, 1).gather(1, y[:, None])[:, 0]
    loss = rows.mean() if w is None else (rows * w).sum() / w.sum()
    (3 * loss).backward()
    return loss.detach(), features.grad, weight.grad, bias.grad


def main() -> None:
    assert isinstance(triton_rows.kernel, InterpretedFunction)
    for dtype in row_losses.LARGEST_ERROR:
        row_losses.check(triton_rows.row_losses, torch.device("cpu"), dtype)
    output.row_losses_for = lambda features: triton_rows.row_losses
    torch.manual_seed(0)
    # Less and more than a block of the kernel, and sizes whose rows need padding.
    sizes = (7, 5000)
    for dtype, size, weighted, chunks in itertools.product(
        row_losses.LARGEST_ERROR, sizes, (False, True), (1, 3)
    ):
        layer = OutputLayer(torch.nn.Parameter(torch.randn(size, 6)))
        torch.nn.init.normal_(layer.bias)
        x, y = torch.randn(5, 6), torch.randint(size, (5,))
        w = torch.rand(5) if weighted else None
        output.rows_at_once = lambda *_, rows=-(-5 // chunks): rows
        found, wanted = (one(dtype, layer, x, y, w) for one in (losses_and_gradients, exact))
        # The logits, too, are rounded to the type.
        limit = 5e-6 if dtype == torch.float32 else 1e-2
        for ours, theirs in zip(found, wanted, strict=True):
            error = float((ours - theirs).norm() / theirs.norm())
            assert error <= limit, f"{dtype}, {size} classes, {chunks} chunks: {error:.1e}"
    # The differences of logits are large where softmax underflows, and the loss does not.
    far = torch.tensor([[200.0, 0.0, -200.0]])
    shares, bias = torch.ones(1), torch.zeros(3)
    losses = triton_rows.row_losses(far, bias, torch.tensor([2]), shares)
    assert losses.tolist() == [400.0]
    assert far.tolist() == [[1.0, 0.0, -1.0]]
    spoiled = torch.tensor([[1.0, float("nan")], [1.0, 2.0]])
    losses = triton_rows.row_losses(spoiled, bias[:2], torch.tensor([0, 0]), torch.ones(2))
    assert losses.isfinite().tolist() == [False, True]
    no_rows = output.cross_entropy(torch.zeros(0, 6), layer.weight, layer.bias, y[:0])
    assert no_rows == 0
    print("all equal")


if __name__ == "__main__":
    main()
