"""The rules for the gradients of recurrent cells, and for the tiers that compute them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lmkit import states
from lmkit.errors import UsageError
from lmkit.plugins import Part
from lmkit.recurrence import Cell
from lmkit.recurrence.compiling import NotCompilableError, make_kernels, uncompiled
from lmkit.recurrence.engine import compiled_window
from lmkit.states import State
from lmkit.testing.cell_cases import (
    Sizes,
    close,
    inputs,
    is_real,
    lived_in,
    one_reset,
    some_resets,
    stirred,
    trained,
    usual_sizes,
)
from lmkit.testing.rules import RuleBook

RULES = RuleBook(usual_sizes)

Run = Callable[..., tuple[Tensor, State]]


@RULES(
    "use every parameter in the outputs without detach, .data, .item() or rounding between; remove one that nothing "
    "needs, or give it requires_grad=False",
    about=("__init__", "sequence", "gates", "coefficients", "forward"),
)
def check_gradients(part: Part, sizes: Sizes) -> None:
    """Gradients reach every parameter that is trained, the same from sequence as from the loop."""
    cell = stirred(part, sizes)
    if not trained(cell):
        return
    xs, lived, resets = inputs(sizes), lived_in(cell, sizes), one_reset(sizes)

    def gradients(run: Run) -> dict[str, Tensor]:
        # From a state that was carried in, and from the initial one, which may be learned.
        carried, _ = run(cell, xs, lived)
        begun, _ = run(cell, xs, cell.initial_state(sizes.batch), resets)
        return _gradients(cell, _objective(carried) + _objective(begun))

    fast, slow = gradients(type(cell).sequence), gradients(Cell.sequence)
    for name, gradient in fast.items():
        assert bool((gradient != 0).any()), f"no gradient reaches {name}"
        close(f"the gradients of {name} by sequence and by steps", gradient, slow[name], tolerance=1e-8)


@RULES(
    "let gates, or coefficients, depend on its arguments, parameters, buffers and plain attributes only, and change "
    "none of them in place",
    about=("gates", "coefficients", "sequence"),
)
def check_tiers(part: Part, sizes: Sizes) -> None:
    """Every tier gives the plain loop's outputs, states and gradients, with resets inside and without."""
    cell, xs = stirred(part, sizes), inputs(sizes)
    for resets in (None, some_resets(sizes)):
        wanted = _all_gradients(cell, Cell.sequence, xs, resets)
        for tier in cell.tiers():
            run = _compiled_graph if tier == "compiled" else _by_tier(tier)
            try:
                found = _all_gradients(cell, run, xs, resets)
            except (NotCompilableError, UsageError):
                continue  # gates that cannot be compiled use the loop; some options exclude torch's kernel
            for name, gradient in wanted.items():
                close(f"{name} by the tier '{tier}'", found[name], gradient, tolerance=1e-9)


@RULES(
    "correct the backward pass of a torch.autograd.Function, or remove detach, .data and in-place changes from the "
    "path of the gradient; a surrogate for the gradient of a threshold breaks this rule by design",
    about=("sequence", "gates", "coefficients", "forward"),
)
def check_finite_differences(part: Part, sizes: Sizes) -> None:
    """Gradients agree with finite differences along a random direction in the parameters."""
    cell = stirred(part, sizes)
    if not trained(cell):
        return
    xs, state = inputs(sizes), lived_in(cell, sizes)
    gradients = _gradients(cell, _objective(cell.sequence(xs, state)[0]))
    directions = {name: torch.randn_like(p) for name, p in trained(cell).items()}
    predicted = sum(float((gradients[name] * directions[name]).sum()) for name in gradients)
    sides = []
    for step in (1e-6, -2e-6):  # to +1e-6, then back past the start to -1e-6
        with torch.no_grad():
            for name, parameter in trained(cell).items():
                parameter.add_(directions[name], alpha=step)
            sides.append(float(_objective(cell.sequence(xs, state)[0])))
    if sides[0] == sides[1]:
        return  # outputs that change in steps: their gradient is a stand-in for one
    measured = (sides[0] - sides[1]) / 2e-6
    agree = abs(predicted - measured) <= 1e-5 * max(1.0, abs(predicted))
    assert agree, f"the gradient says {predicted:.3g}, finite differences {measured:.3g}"


def _objective(ys: Tensor) -> Tensor:
    ys = torch.view_as_real(ys) if ys.is_complex() else ys
    # A different weight for every output, so that no gradient cancels.
    return (ys * torch.linspace(-1, 1, ys.numel(), dtype=ys.dtype).view_as(ys).cos()).sum()


def _gradients(cell: Cell, objective: Tensor) -> dict[str, Tensor]:
    cell.zero_grad()
    objective.backward()
    return {name: _gradient(parameter) for name, parameter in trained(cell).items()}


def _by_tier(tier: str) -> Run:
    def run(cell: Cell, *window: Any) -> tuple[Tensor, State]:
        cell.use_tier("auto" if tier == "own" else tier)
        return cell.run(*window)

    return run


def _compiled_graph(cell: Any, xs: Tensor, state: Any, resets: Tensor | None) -> tuple[Tensor, State]:
    """The computation of compiled steps, without compiling."""
    kernels = make_kernels(cell, xs.new_empty(xs.shape[1], len(cell.bias_ih)), state, uncompiled)
    return compiled_window(cell, xs, state, resets, kernels)


def _all_gradients(cell: Cell, run: Run, xs: Tensor, resets: Tensor | None) -> dict[str, Tensor]:
    """The outputs, the last state and the gradients of an objective of both with respect to everything."""
    xs = xs.clone().requires_grad_()
    start = states.apply(_beside, states.detach(cell.initial_state(xs.shape[1])))
    ys, last = run(cell, xs, start, resets)
    cell.zero_grad()
    real = [leaf for leaf in states.leaves(last) if is_real(leaf)]
    sum((_objective(leaf) for leaf in real), _objective(ys)).backward()
    sources = {"xs": xs, **trained(cell)}
    sources |= {f"state {index}": leaf for index, leaf in enumerate(states.leaves(start)) if is_real(leaf)}
    results = {f"state {index} at the end": leaf.detach() for index, leaf in enumerate(states.leaves(last))}
    gradients = {f"the gradients of {n}": _gradient(t) for n, t in sources.items()}
    return {"the outputs": ys.detach(), **results, **gradients}


def _beside(leaf: Tensor) -> Tensor:
    """A leaf near an initial one, with a gradient; integers as they are."""
    return (leaf + 0.1).requires_grad_() if is_real(leaf) else leaf.clone()


def _gradient(tensor: Tensor) -> Tensor:
    return torch.zeros_like(tensor) if tensor.grad is None else tensor.grad.clone()
