"""The rules for recurrent cells: shapes, resets, carried states, and what may depend on what."""

import torch
from torch import Tensor

from lmkit import states
from lmkit.plugins import Part
from lmkit.recurrence import Cell, Recurrent
from lmkit.states import State
from lmkit.testing import cell_gradients
from lmkit.testing.cell_cases import (
    Sizes,
    both_sizes,
    built,
    close,
    close_states,
    inputs,
    is_real,
    lived_in,
    one_reset,
    some_resets,
    stirred,
    usual_sizes,
)
from lmkit.testing.rules import RuleBook
from lmkit.testing.samples import small_options

RULES = RuleBook(usual_sizes)

STEP = ("sequence", "gates", "coefficients", "forward")
"""The methods that compute outputs."""


@RULES(
    "return (y, state) from forward: y of (batch, output_size), and a state of the same shapes as initial_state; "
    "sequence returns all outputs, time first",
    about=("forward", "gates", "coefficients"),
)
def check_shapes(part: Part, sizes: Sizes) -> None:
    """One step and a sequence give outputs of output_size and a state of the structure of initial_state."""
    cell = built(part, sizes)
    state = cell.initial_state(sizes.batch)
    y, after = _pair("forward", cell(inputs(sizes)[0], state))
    assert y.shape == (sizes.batch, cell.output_size), (
        f"forward gives y of {tuple(y.shape)}, not {(sizes.batch, cell.output_size)}"
    )
    ys, last = _pair("sequence", cell.sequence(inputs(sizes), state))
    expected = (sizes.time, sizes.batch, cell.output_size)
    assert ys.shape == expected, f"sequence gives outputs of {tuple(ys.shape)}, not {expected}"
    for name, new in (("forward", after), ("sequence", last)):
        shapes = [tuple(leaf.shape) for leaf in states.leaves(new)]
        wanted = [tuple(leaf.shape) for leaf in states.leaves(state)]
        assert shapes == wanted, f"the state after {name} has the shapes {shapes}, initial_state {wanted}"


@RULES(
    "make every tensor of initial_state of shape (batch_size, ...), the batch first, with the same values in each row",
    about=("initial_state",),
)
def check_initial_state(part: Part, sizes: Sizes) -> None:
    """initial_state has at least one leaf, each with the batch as dimension 0 and equal rows."""
    cell = built(part, sizes)
    leaves = states.leaves(cell.initial_state(sizes.batch))
    assert leaves, "it is empty"
    for leaf, alone in zip(leaves, states.leaves(cell.initial_state(1)), strict=True):
        assert leaf.shape == (sizes.batch, *alone.shape[1:]), (
            f"a leaf for {sizes.batch} rows has the shape {tuple(leaf.shape)}"
        )
        assert torch.equal(leaf, alone.expand_as(leaf)), "its rows differ"


@RULES(
    "make the cell's own sequence compute what forward computes step by step, with initial_state put in each row "
    "that resets names; or remove it, and the loop of lmkit runs",
    about=("sequence", "gates", "coefficients", "forward"),
    cases=both_sizes,
)
def check_sequence_is_loop(part: Part, sizes: Sizes) -> None:
    """sequence gives the same numbers as forward step by step, with resets and without."""
    for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 1e-5)):
        cell = built(part, sizes).to(dtype)
        xs = inputs(sizes).to(dtype)
        state = cell.sequence(xs[:2], cell.initial_state(sizes.batch))[1]
        for resets in (None, some_resets(sizes)):
            # A faster kernel may be used only if no gradient is needed.
            for with_gradients in (True, False):
                with torch.set_grad_enabled(with_gradients):
                    ys, last = cell.sequence(xs, state, resets)
                    looped, after = Cell.sequence(cell, xs, state, resets)
                close("the outputs", ys, looped, tolerance)
                close_states(last, after, tolerance)


@RULES(
    "return from sequence the state after its last step, with everything that the next step needs",
    about=STEP,
    cases=both_sizes,
)
def check_carry(part: Part, sizes: Sizes) -> None:
    """Two halves, with the state carried over, give the same outputs as the whole."""
    cell = built(part, sizes)
    xs, state, half = inputs(sizes), lived_in(cell, sizes), sizes.time // 2
    whole, last = cell.sequence(xs, state)
    first, middle = cell.sequence(xs[:half], state)
    second, after = cell.sequence(xs[half:], middle)
    close("the outputs", torch.cat([first, second]), whole)
    close_states(after, last)


@RULES(
    "keep everything that a step remembers in the state that it returns; a tensor in self is the next call's as well",
    about=STEP,
    cases=both_sizes,
)
def check_repeated(part: Part, sizes: Sizes) -> None:
    """The same inputs and state give the same outputs and state again, whatever ran between."""
    cell = built(part, sizes)
    xs, state = inputs(sizes), lived_in(cell, sizes)
    first, after = cell.sequence(xs, state)
    cell.sequence(inputs(sizes), lived_in(cell, sizes))
    again, last = cell.sequence(xs, state)
    close("the outputs", again, first)
    close_states(last, after)


@RULES(
    "let the output depend on the state, and the new state on the input, whatever the sizes are",
    about=STEP,
    cases=both_sizes,
)
def check_memory(part: Part, sizes: Sizes) -> None:
    """An earlier input changes a later output."""
    cell = stirred(part, sizes)
    for scale in _SCALES:
        state = cell.initial_state(sizes.batch)
        xs = inputs(sizes, 2 * sizes.time) * scale
        changed = xs.clone()
        changed[: sizes.time] = inputs(sizes) * scale
        later = [cell.sequence(one, state)[0][sizes.time :] for one in (xs, changed)]
        if not torch.equal(*later):
            return
    raise AssertionError(f"the outputs after step {sizes.time} are the same, whatever the inputs before are")


@RULES(
    "compute the output from the state that is handed in, not from the inputs alone, whatever the sizes are",
    about=STEP,
    cases=both_sizes,
)
def check_state_is_used(part: Part, sizes: Sizes) -> None:
    """The state handed in changes a later output."""
    cell = stirred(part, sizes)
    for scale in _SCALES:
        xs = inputs(sizes) * scale
        # After different numbers of steps, so that a counter differs, too.
        given = [lived_in(cell, sizes, time, scale) for time in (4, 9)]
        if not torch.equal(*(cell.sequence(xs, state)[0] for state in given)):
            return
    raise AssertionError("the outputs are the same, whatever the state is")


@RULES(
    "put the row's initial_state in place of its state before the step that resets names, and touch no other row",
    about=("reset", *STEP),
    cases=both_sizes,
)
def check_reset(part: Part, sizes: Sizes) -> None:
    """A row that is reset at step t continues as if it began there; other rows do not change."""
    cell = built(part, sizes)
    xs, state = inputs(sizes), lived_in(cell, sizes)
    row, start = sizes.row, sizes.middle - 1
    others = [index for index in range(sizes.batch) if index != row]
    ys, _ = cell.sequence(xs, state, one_reset(sizes))
    untouched, _ = cell.sequence(xs, state)
    anew, _ = cell.sequence(xs[start:, row : row + 1], cell.initial_state(1))
    close("the outputs of a row after its reset", ys[start:, row : row + 1], anew)
    close("the outputs of a row before its reset", ys[:start], untouched[:start])
    close("the outputs of other rows", ys[:, others], untouched[:, others])


@RULES(
    "choose with torch.where (or lmkit.states.where) between the initial state and the old one; a product with 0 "
    "keeps NaN and infinity",
    about=("reset", *STEP),
)
def check_reset_forgets(part: Part, sizes: Sizes) -> None:
    """Nothing survives a reset, not even NaN or infinity in the state before it."""
    cell = built(part, sizes)
    xs = inputs(sizes)
    resets = torch.zeros(sizes.time, sizes.batch, dtype=torch.bool)
    resets[0] = True
    clean, _ = cell.sequence(xs, cell.initial_state(sizes.batch))
    for poison in (torch.nan, torch.inf, -torch.inf):
        state = states.apply(lambda t, value=poison: _filled(t, value), cell.initial_state(sizes.batch))
        ys, last = cell.sequence(xs, state, resets)
        close(f"the outputs after a state of {poison}", ys, clean)
        finite = all(bool(leaf.isfinite().all()) for leaf in states.leaves(last))
        assert finite, f"the last state is not finite after a state of {poison}"


@RULES(
    "compute the output of a step from inputs up to that step: no mean, norm or product over time that includes later "
    "ones",
    about=STEP,
    cases=both_sizes,
)
def check_causality(part: Part, sizes: Sizes) -> None:
    """A later input changes no earlier output."""
    cell = built(part, sizes)
    xs, state, now = inputs(sizes), lived_in(cell, sizes), sizes.middle
    changed = xs.clone()
    changed[now:] += 1
    close(
        "the outputs before a changed input",
        cell.sequence(changed, state)[0][:now],
        cell.sequence(xs, state)[0][:now],
    )


@RULES(
    "keep rows apart: no mean, norm, sum or softmax over dimension 0, and give a factor per row a dimension of its "
    "own: factor[:, None]",
    about=STEP,
    cases=both_sizes,
)
def check_batch_invariance(part: Part, sizes: Sizes) -> None:
    """A row gives the same outputs alone and in a batch."""
    cell = built(part, sizes)
    xs, state = inputs(sizes), lived_in(cell, sizes)
    ys, _ = cell.sequence(xs, state)
    for row in range(sizes.batch):
        rows = slice(row, row + 1)
        alone, _ = cell.sequence(xs[:, rows], states.take(state, rows))
        close("the outputs of a row alone and in the batch", alone, ys[:, rows])


@RULES(
    "let only dropout and the like differ in training: normalise over units, not over the batch, and use resets and "
    "the state as in evaluation",
    about=STEP,
    cases=both_sizes,
)
def check_training_mode(part: Part, sizes: Sizes) -> None:
    """In training mode, too, other rows, later inputs and what precedes a reset do not matter."""
    cell = built(part, sizes).train()
    xs, state = inputs(sizes), lived_in(cell, sizes)
    row, now = sizes.row, sizes.middle
    ys = _seeded(cell, xs, state)
    changed = xs.clone()
    changed[now:] += 1
    close("the outputs before a changed input", _seeded(cell, changed, state)[:now], ys[:now])
    others = torch.arange(sizes.batch) != row
    changed = torch.where(others[:, None], xs + 1, xs)
    strange = states.where(others, lived_in(cell, sizes), state)
    close("the outputs of a row beside changed rows", _seeded(cell, changed, strange)[:, row], ys[:, row])
    # What the reset row read before: other inputs, from another state.
    resets, start = one_reset(sizes), now - 1
    ys = _seeded(cell, xs, state, resets)
    changed = xs.clone()
    changed[:start, row] += 1
    strange = states.where(~others, lived_in(cell, sizes), state)
    after = _seeded(cell, changed, strange, resets)[start:, row]
    close("the outputs of a row after its reset", after, ys[start:, row])
    if torch.equal(_seeded(cell, xs, state, seed=2), _seeded(cell, xs, state)):  # no random numbers
        for resets in (None, some_resets(sizes)):
            together, last = cell.sequence(xs, state, resets)
            looped, after = Cell.sequence(cell, xs, state, resets)
            close("the outputs of sequence and of steps", together, looped)
            close_states(last, after)


@RULES("accept a sequence of no steps: no outputs, and the state as it was given", about=("sequence",))
def check_time_zero(part: Part, sizes: Sizes) -> None:
    """A sequence without steps gives no outputs and leaves the state unchanged."""
    cell = built(part, sizes)
    state = lived_in(cell, sizes)
    ys, last = cell.sequence(inputs(sizes, 0), state, torch.zeros(0, sizes.batch, dtype=torch.bool))
    assert ys.shape == (0, sizes.batch, cell.output_size), f"the outputs have the shape {tuple(ys.shape)}"
    close_states(last, state)


RULES.rules += cell_gradients.RULES.rules


@RULES("initialise parameters with torch's random numbers only", about=("__init__",))
def check_seed(part: Part, sizes: Sizes) -> None:
    """The same seed gives the same parameters."""
    first, second = built(part, sizes).state_dict(), built(part, sizes).state_dict()
    for name in first:
        assert torch.equal(first[name], second[name]), f"{name} differs"


@RULES(
    "keep every learned or random number in a parameter or a registered buffer: other attributes are not saved",
    about=("__init__",),
)
def check_state_dict(part: Part, sizes: Sizes) -> None:
    """A cell that loads another's state_dict gives its outputs, bit for bit."""
    cell, other = built(part, sizes), built(part, sizes, seed=1)
    other.load_state_dict(cell.state_dict())
    xs = inputs(sizes)
    ys, _ = cell.sequence(xs, cell.initial_state(sizes.batch))
    assert torch.equal(other.sequence(xs, other.initial_state(sizes.batch))[0], ys), "the outputs differ"


@RULES(
    "accept any input_size and hidden_size, equal ones included, and return the state to carry",
    about=("__init__",),
)
def check_stack(part: Part, sizes: Sizes) -> None:
    """Two layers in lmkit.recurrence.Recurrent give outputs batch first, and carry."""
    target, options = part.load(), small_options(part)
    stack = Recurrent(sizes.input, sizes.hidden, 2, lambda width, hidden: target(width, hidden, options))
    stack = stack.double().eval()
    xs, half = inputs(sizes).transpose(0, 1), sizes.time // 2
    whole, _ = stack(xs)
    expected = (sizes.batch, sizes.time, stack.output_size)
    assert whole.shape == expected, f"the outputs have the shape {tuple(whole.shape)}, not {expected}"
    first, state = stack(xs[:, :half])
    close("the outputs", torch.cat([first, stack(xs[:, half:], state)[0]], 1), whole)


_SCALES = (1.0, 10.0, 100.0)
"""Sizes of inputs: a cell with thresholds may not react to small ones."""


def _pair(name: str, result: object) -> tuple[Tensor, State]:
    right = isinstance(result, tuple) and len(result) == 2 and isinstance(result[0], Tensor)
    assert right, f"{name} returns {type(result).__name__}, not the pair (outputs, state)"
    return result  # pyright: ignore[reportReturnType]


def _seeded(cell: Cell, xs: Tensor, state: State, resets: Tensor | None = None, *, seed: int = 1) -> Tensor:
    """The outputs with the same random numbers each time."""
    torch.manual_seed(seed)
    return cell.sequence(xs, state, resets)[0]


def _filled(leaf: Tensor, value: float) -> Tensor:
    """A leaf full of a value; integers, which have no NaN, of their largest number."""
    if is_real(leaf):
        return torch.full_like(leaf, value)
    return torch.full_like(leaf, True if leaf.dtype == torch.bool else torch.iinfo(leaf.dtype).max)
