"""Try a window kernel before it is used: does it give what the cell's own step gives, on this device?"""

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor

from lmkit import states
from lmkit.recurrence.interfaces import Gated
from lmkit.recurrence.tracing import NotCompilableError

STEPS = 5
TOLERANCES = {"float32": 1e-4, "TF32": 2e-2, "bfloat16": 2e-1}
"""How far results may differ, relative to their norm.

A wrong kernel is far beyond. In bfloat16 gradients of the built-in cells, of 48 units, differ by at most 6e-2; TF32 has
three bits more.
"""

Tensors = tuple[Tensor, ...]


def try_kernel(
    cell: Gated, xs: Tensor, run: Callable[[Tensor, Tensors, Tensor], tuple[Tensor, Tensors]]
) -> None:
    """Compare outputs, last state and gradients of `run` and of the cell's steps, for inputs like xs, with resets.

    NotCompilableError says what differs, or what the kernel raised.
    """
    try:
        found, wanted = _results(cell, xs, run), _results(cell, xs, lambda *given: _each_step(cell, *given))
    except Exception as error:  # Triton raises what its compiler and its driver raise
        raise NotCompilableError(f"the kernel fails ({type(error).__name__})") from error
    kind = "TF32" if torch.backends.cuda.matmul.allow_tf32 else "float32"
    tolerance = TOLERANCES["bfloat16" if xs.dtype == torch.bfloat16 else kind]
    for name, value in wanted.items():
        error = float((found[name] - value).norm() / value.norm().clamp_min(1e-6))
        if not error <= tolerance:
            raise NotCompilableError(f"the kernel's {name} differs from the cell's by {error:.0%}")


def _results(
    cell: Gated, xs: Tensor, run: Callable[[Tensor, Tensors, Tensor], tuple[Tensor, Tensors]]
) -> dict[str, Tensor]:
    rows, features = xs.shape[1:]
    numbers = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=numbers).to(xs.device, xs.dtype)

    inputs = drawn(STEPS, rows, features).requires_grad_()
    resets = (torch.rand(STEPS, rows, generator=numbers) < 0.3).to(xs.device)
    weights = {n: p for n, p in cell.named_parameters() if p.requires_grad}
    with torch.enable_grad():
        ys, last = run(inputs, cell.initial_state(rows), resets)
        results = {"output": ys, **{f"state {i}": part for i, part in enumerate(last)}}
        loss = sum((value * drawn(*value.shape)).float().sum() for value in results.values())
        gradients = torch.autograd.grad(
            cast(Tensor, loss), [inputs, *weights.values()], allow_unused=True, materialize_grads=True
        )
    named = zip(["gradient of x", *(f"gradient of {name}" for name in weights)], gradients, strict=True)
    return {name: value.detach().float() for name, value in [*results.items(), *named]}


def _each_step(cell: Gated, xs: Tensor, state: Sequence[Tensor], resets: Tensor) -> tuple[Tensor, Tensors]:
    """The cell's own steps, one after the other."""
    ys, now = [], cast(states.State, tuple(state))
    for t, x in enumerate(xs.unbind(0)):
        y, now = cell(x, cell.reset(now, resets, t))
        ys.append(y)
    return torch.stack(ys), cast(Tensors, now)
