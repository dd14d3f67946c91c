"""Try a cell before it is used: does each method give what the class promises?"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lmkit import states
from lmkit.blame import defined_at, form
from lmkit.recurrence.cells import Cell, GatedCell, LinearCell

ROWS = 2


@torch.no_grad()
def problem_of(cell: Cell) -> str | None:
    """What is wrong with the results of a cell's methods for two rows and two steps, or None."""
    with torch.random.fork_rng(devices=[]):  # a cell with dropout leaves the random state of a run as it was
        start = cell.initial_state(ROWS)
        if problem := _wrong_start(cell, start) or _wrong_step(cell, start):
            return problem
        ys, after = cell.sequence(torch.zeros(2, ROWS, cell.input_size), start)
    wanted = (2, ROWS, cell.output_size)
    if ys.shape != wanted:
        return f"{_name(cell.sequence)} gave an output {form(ys)}, wanted {wanted}"
    return _changed(cell.sequence, after, start)


def _wrong_start(cell: Cell, start: Any) -> str | None:
    if not _is_state(start):
        return f"{_name(cell.initial_state)} gave {_form(start)}, wanted a tensor or a tuple of tensors"
    if any(leaf.dim() == 0 or len(leaf) != ROWS for leaf in states.leaves(start)):
        return (
            f"{_name(cell.initial_state)} gave {form(start)} for a batch of {ROWS}, which must be dimension 0"
        )
    return None


def _wrong_step(cell: Cell, start: Any) -> str | None:
    """The same for one call of the method that the class asks for."""
    if isinstance(cell, GatedCell):
        x = torch.zeros(ROWS, cell.num_gates * cell.hidden_size)
        new = cell.gates(x, torch.zeros_like(x) if cell.recurrent else None, start)  # pyright: ignore[reportArgumentType]
        names = f", a tensor for each of state_names ({', '.join(cell.state_names)})"
        return _differs(cell.gates, (new,) if isinstance(new, Tensor) else new, start, names)
    if isinstance(cell, LinearCell):
        wanted = torch.zeros(ROWS, cell.hidden_size)
        pair = cell.coefficients(torch.zeros(ROWS, cell.num_gates * cell.hidden_size))
        return _differs(cell.coefficients, pair, (wanted, wanted), ", the pair a, b")
    pair = cell.forward(torch.zeros(ROWS, cell.input_size), start)
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        return f"{_name(cell.forward)} gave {_form(pair)}, wanted a pair: the output and the new state"
    if not isinstance(pair[0], Tensor) or pair[0].shape != (ROWS, cell.output_size):
        return f"{_name(cell.forward)} gave an output {_form(pair[0])}, wanted {(ROWS, cell.output_size)}"
    return _changed(cell.forward, pair[1], start)


def _changed(method: Any, after: Any, start: Any) -> str | None:
    """Whether the state has other shapes or types after a step than at the start."""
    if not _is_state(after) or form(after) != form(start):
        return f"{_name(method)} gave a state {_form(after)}, at the start it is {form(start)}"
    return None


def _differs(method: Any, given: Any, wanted: Sequence[Tensor], why: str) -> str | None:
    given = tuple(given) if isinstance(given, list) else given
    if not _is_state(given) or form(given) != form(tuple(wanted)):
        return f"{_name(method)} gave {_form(given)}, wanted {form(tuple(wanted))}{why}"
    return None


def _is_state(value: Any) -> bool:
    return all(map(_is_state, value)) if isinstance(value, tuple) else isinstance(value, Tensor)


def _form(value: Any) -> str:
    """The shapes of a result, or its class if it is no tensor."""
    return form(value) or f"an object of the class {type(value).__name__}"


def _name(method: Any) -> str:
    """A method and its place, "gates (mycell.py, line 12)"."""
    place = defined_at(method)
    return f"{method.__name__} ({place})" if place else method.__name__
