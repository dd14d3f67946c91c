"""The rules for recurrent cells, compared in float64."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lmkit import states
from lmkit.errors import UsageError
from lmkit.plugins import Part
from lmkit.recurrence import Cell, Recurrent
from lmkit.recurrence.compiling import NotCompilableError, make_kernels, uncompiled
from lmkit.recurrence.engine import compiled_window
from lmkit.states import State
from lmkit.testing.samples import small_options

INPUT, HIDDEN, BATCH, TIME = 5, 8, 3, 7


def built(part: Part, seed: int = 0) -> Cell:
    """A small cell in float64, ready for inference."""
    torch.manual_seed(seed)
    return part.load()(INPUT, HIDDEN, small_options(part)).double().eval()


def inputs(time: int = TIME, batch: int = BATCH) -> Tensor:
    """(time, batch, INPUT) float64."""
    return torch.randn(time, batch, INPUT, dtype=torch.float64)


def lived_in(cell: Cell, batch: int = BATCH) -> State:
    """A state after some steps."""
    return states.detach(cell.sequence(inputs(4, batch), cell.initial_state(batch))[1])


def check_shapes(part: Part) -> None:
    """One step and a sequence give outputs of output_size and a state of the structure of initial_state."""
    cell = built(part)
    state = cell.initial_state(BATCH)
    y, after = cell(inputs()[0], state)
    assert y.shape == (BATCH, cell.output_size), (
        f"forward gives {tuple(y.shape)}, not {(BATCH, cell.output_size)}"
    )
    ys, last = cell.sequence(inputs(), state)
    expected = (TIME, BATCH, cell.output_size)
    assert ys.shape == expected, f"sequence gives {tuple(ys.shape)}, not {expected}"
    for name, new in (("forward", after), ("sequence", last)):
        shapes = [tuple(leaf.shape) for leaf in states.leaves(new)]
        wanted = [tuple(leaf.shape) for leaf in states.leaves(state)]
        assert shapes == wanted, f"the state after {name} has the shapes {shapes}, initial_state {wanted}"


def check_initial_state(part: Part) -> None:
    """initial_state has at least one leaf, each with the batch as dimension 0 and equal rows."""
    cell = built(part)
    leaves = states.leaves(cell.initial_state(BATCH))
    assert leaves, "it is empty"
    for leaf, alone in zip(leaves, states.leaves(cell.initial_state(1)), strict=True):
        assert leaf.shape == (BATCH, *alone.shape[1:]), (
            f"a leaf for {BATCH} rows has the shape {tuple(leaf.shape)}"
        )
        assert torch.equal(leaf, alone.expand_as(leaf)), "its rows differ"


def check_sequence_is_loop(part: Part) -> None:
    """sequence gives the same numbers as forward step by step, with resets and without."""
    for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 1e-5)):
        cell = built(part).to(dtype)
        xs = inputs().to(dtype)
        state = cell.sequence(xs[:2], cell.initial_state(BATCH))[1]
        for resets in (None, torch.rand(TIME, BATCH) < 0.3):
            # A faster kernel may be used only if no gradient is needed.
            for with_gradients in (True, False):
                with torch.set_grad_enabled(with_gradients):
                    ys, last = cell.sequence(xs, state, resets)
                    looped, after = Cell.sequence(cell, xs, state, resets)
                _close("the outputs", ys, looped, tolerance)
                _close_states(last, after, tolerance)


def check_carry(part: Part) -> None:
    """Two halves, with the state carried over, give the same outputs as the whole."""
    cell = built(part)
    xs, state = inputs(), lived_in(cell)
    whole, last = cell.sequence(xs, state)
    first, middle = cell.sequence(xs[:3], state)
    second, after = cell.sequence(xs[3:], middle)
    _close("the outputs", torch.cat([first, second]), whole)
    _close_states(after, last)


def check_reset(part: Part) -> None:
    """A row that is reset at step t continues as if it began there; other rows do not change."""
    cell = built(part)
    xs, state = inputs(), lived_in(cell)
    resets = torch.zeros(TIME, BATCH, dtype=torch.bool)
    resets[3, 1] = True
    ys, _ = cell.sequence(xs, state, resets)
    untouched, _ = cell.sequence(xs, state)
    anew, _ = cell.sequence(xs[3:, 1:2], cell.initial_state(1))
    _close("the row after its reset", ys[3:, 1:2], anew)
    _close("the row before its reset", ys[:3], untouched[:3])
    _close("the other rows", ys[:, [0, 2]], untouched[:, [0, 2]])


def check_reset_forgets(part: Part) -> None:
    """Nothing survives a reset, not even NaN or infinity in the state before it."""
    cell = built(part)
    xs = inputs()
    resets = torch.zeros(TIME, BATCH, dtype=torch.bool)
    resets[0] = True
    clean, _ = cell.sequence(xs, cell.initial_state(BATCH))
    for poison in (torch.nan, torch.inf, -torch.inf):
        state = states.apply(lambda t, value=poison: torch.full_like(t, value), cell.initial_state(BATCH))
        ys, last = cell.sequence(xs, state, resets)
        _close(f"the outputs after a state of {poison}", ys, clean)
        finite = all(bool(leaf.isfinite().all()) for leaf in states.leaves(last))
        assert finite, f"the last state is not finite after a state of {poison}"


def check_causality(part: Part) -> None:
    """A later input changes no earlier output."""
    cell = built(part)
    xs, state = inputs(), lived_in(cell)
    changed = xs.clone()
    changed[4:] += 1
    _close("the earlier outputs", cell.sequence(changed, state)[0][:4], cell.sequence(xs, state)[0][:4])


def check_batch_invariance(part: Part) -> None:
    """A row gives the same outputs alone and in a batch."""
    cell = built(part)
    xs, state = inputs(), lived_in(cell)
    ys, _ = cell.sequence(xs, state)
    for row in range(BATCH):
        rows = slice(row, row + 1)
        _close(f"row {row}", cell.sequence(xs[:, rows], states.take(state, rows))[0], ys[:, rows])


def check_time_zero(part: Part) -> None:
    """A sequence without steps gives no outputs and leaves the state unchanged."""
    cell = built(part)
    state = lived_in(cell)
    ys, last = cell.sequence(inputs(0), state, torch.zeros(0, BATCH, dtype=torch.bool))
    assert ys.shape == (0, BATCH, cell.output_size), f"the outputs have the shape {tuple(ys.shape)}"
    _close_states(last, state)


def check_gradients(part: Part) -> None:
    """Gradients reach every parameter, the same from sequence as from the loop."""
    cell = _stirred(part)
    xs, state = inputs(), lived_in(cell)
    fast = _gradients(cell, cell.sequence(xs, state)[0])
    slow = _gradients(cell, Cell.sequence(cell, xs, state)[0])
    for name in fast:
        assert bool((fast[name] != 0).any()), f"none reaches {name}"
        _close(f"the gradient of {name}", fast[name], slow[name], tolerance=1e-8)


def check_tiers(part: Part) -> None:
    """Every tier gives the plain loop's outputs, states and gradients, with resets inside and without."""
    cell, xs = _stirred(part), inputs()
    for resets in (None, torch.rand(TIME, BATCH) < 0.3):
        wanted = _all_gradients(cell, Cell.sequence, xs, resets)
        for tier in cell.tiers():
            run = _compiled_graph if tier == "compiled" else _by_tier(tier)
            try:
                found = _all_gradients(cell, run, xs, resets)
            except (NotCompilableError, UsageError):
                continue  # gates that cannot be compiled use the loop; some options exclude torch's kernel
            for name, gradient in wanted.items():
                _close(f"{name} by the tier '{tier}'", found[name], gradient, tolerance=1e-9)


def check_finite_differences(part: Part) -> None:
    """Gradients agree with finite differences along a random direction in the parameters."""
    cell = _stirred(part)
    xs, state = inputs(), lived_in(cell)
    gradients = _gradients(cell, cell.sequence(xs, state)[0])
    directions = {name: torch.randn_like(p) for name, p in cell.named_parameters()}
    predicted = sum(float((gradients[name] * directions[name]).sum()) for name in gradients)
    sides = []
    for step in (1e-6, -2e-6):  # to +1e-6, then back past the start to -1e-6
        with torch.no_grad():
            for name, parameter in cell.named_parameters():
                parameter.add_(directions[name], alpha=step)
            sides.append(float(_objective(cell.sequence(xs, state)[0])))
    measured = (sides[0] - sides[1]) / 2e-6
    agree = abs(predicted - measured) <= 1e-5 * max(1.0, abs(predicted))
    assert agree, f"the gradient says {predicted:.8g}, finite differences {measured:.8g}"


def check_seed(part: Part) -> None:
    """The same seed gives the same parameters."""
    first, second = built(part).state_dict(), built(part).state_dict()
    for name in first:
        assert torch.equal(first[name], second[name]), f"{name} differs"


def check_state_dict(part: Part) -> None:
    """A cell that loads another's state_dict gives its outputs, bit for bit."""
    cell, other = built(part), built(part, seed=1)
    other.load_state_dict(cell.state_dict())
    xs = inputs()
    ys, _ = cell.sequence(xs, cell.initial_state(BATCH))
    assert torch.equal(other.sequence(xs, other.initial_state(BATCH))[0], ys), "the outputs differ"


def check_stack(part: Part) -> None:
    """Two layers in lmkit.recurrence.Recurrent give outputs batch first, and carry."""
    target, options = part.load(), small_options(part)
    stack = Recurrent(INPUT, HIDDEN, 2, lambda width, hidden: target(width, hidden, options)).double().eval()
    xs = inputs().transpose(0, 1)
    whole, _ = stack(xs)
    expected = (BATCH, TIME, stack.output_size)
    assert whole.shape == expected, f"the outputs have the shape {tuple(whole.shape)}, not {expected}"
    first, state = stack(xs[:, :3])
    _close("the outputs", torch.cat([first, stack(xs[:, 3:], state)[0]], 1), whole)


def _stirred(part: Part) -> Cell:
    """A cell with a little noise on its parameters: if they start at zero, gradients may be zero too."""
    cell = built(part)
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.01)
    return cell


def _objective(ys: Tensor) -> Tensor:
    # A different weight for every output, so that no gradient cancels.
    return (ys * torch.linspace(-1, 1, ys.numel(), dtype=ys.dtype).view_as(ys).cos()).sum()


def _gradients(cell: Cell, ys: Tensor) -> dict[str, Tensor]:
    cell.zero_grad()
    _objective(ys).backward()
    return {n: torch.zeros_like(p) if p.grad is None else p.grad.clone() for n, p in cell.named_parameters()}


def _by_tier(tier: str) -> Callable[..., tuple[Tensor, State]]:
    def run(cell: Cell, *window: Any) -> tuple[Tensor, State]:
        cell.use_tier("auto" if tier == "own" else tier)
        return cell.run(*window)

    return run


def _compiled_graph(cell: Any, xs: Tensor, state: Any, resets: Tensor | None) -> tuple[Tensor, State]:
    """The computation of compiled steps, without compiling."""
    kernels = make_kernels(cell, xs.new_empty(xs.shape[1], len(cell.bias_ih)), state, uncompiled)
    return compiled_window(cell, xs, state, resets, kernels)


def _all_gradients(
    cell: Cell, run: Callable[..., tuple[Tensor, State]], xs: Tensor, resets: Tensor | None
) -> dict[str, Tensor]:
    """The outputs, the last state and the gradients of an objective of both with respect to everything."""
    xs = xs.clone().requires_grad_()
    start = states.apply(lambda t: (t + 0.1).requires_grad_(), states.detach(cell.initial_state(BATCH)))
    ys, last = run(cell, xs, start, resets)
    cell.zero_grad()
    sum((_objective(leaf) for leaf in states.leaves(last)), _objective(ys)).backward()
    sources = {"xs": xs, **dict(cell.named_parameters())}
    sources |= {f"state {index}": leaf for index, leaf in enumerate(states.leaves(start))}
    results = {f"last {index}": leaf.detach() for index, leaf in enumerate(states.leaves(last))}
    gradients = {f"the gradient of {n}": _gradient(t) for n, t in sources.items()}
    return {"the outputs": ys.detach(), **results, **gradients}


def _gradient(tensor: Tensor) -> Tensor:
    return torch.zeros_like(tensor) if tensor.grad is None else tensor.grad.clone()


def _close(what: str, got: Tensor, wanted: Tensor, tolerance: float = 1e-10) -> None:
    assert got.shape == wanted.shape, f"{what}: the shape is {tuple(got.shape)}, not {tuple(wanted.shape)}"
    same = torch.allclose(got, wanted, rtol=tolerance, atol=tolerance)
    assert same, f"{what} differ by {float((got - wanted).detach().abs().max()):.3g}"


def _close_states(got: State, wanted: State, tolerance: float = 1e-10) -> None:
    for one, other in zip(states.leaves(got), states.leaves(wanted), strict=True):
        _close("the states", one, other, tolerance)


CHECKS = (
    check_shapes,
    check_initial_state,
    check_sequence_is_loop,
    check_carry,
    check_reset,
    check_reset_forgets,
    check_causality,
    check_batch_invariance,
    check_time_zero,
    check_gradients,
    check_tiers,
    check_finite_differences,
    check_seed,
    check_state_dict,
    check_stack,
)
