"""Small cells, and the inputs and states that the rules for cells try them on, in float64."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from lmkit import states
from lmkit.plugins import Part
from lmkit.recurrence import Cell
from lmkit.states import State
from lmkit.testing.samples import small_options


@dataclass(frozen=True)
class Sizes:
    """The sizes of a cell, and of the sequence that it reads."""

    input: int = 5
    hidden: int = 8
    batch: int = 3
    time: int = 7

    def __str__(self) -> str:
        return f"input_size {self.input}, hidden_size {self.hidden}, batch {self.batch}, time {self.time}"

    def smaller(self) -> Iterator[Self]:
        """Sizes as large as hidden_size shrink together first, since a fault may need that they are equal."""
        equal = [name for name in ("input", "hidden", "batch") if getattr(self, name) == self.hidden]
        for names in (equal, ["time"], ["batch"], ["input"], ["hidden"]):
            for size in range(1, getattr(self, names[0])):
                yield replace(self, **dict.fromkeys(names, size))

    @property
    def row(self) -> int:
        """A row with others before and after it, if there are three."""
        return self.batch // 2

    @property
    def middle(self) -> int:
        """A step in the middle."""
        return (self.time + 1) // 2


USUAL = Sizes()
EQUAL = Sizes(input=8, hidden=8, batch=8)


def usual_sizes(part: Part) -> list[Sizes]:
    """Sizes that all differ."""
    return [USUAL]


def both_sizes(part: Part) -> list[Sizes]:
    """Sizes that all differ, and input = hidden = batch: a layer above the first has equal widths."""
    return [USUAL, EQUAL]


def built(part: Part, sizes: Sizes, seed: int = 0) -> Cell:
    """A small cell in float64, ready for inference."""
    torch.manual_seed(seed)
    return part.load()(sizes.input, sizes.hidden, small_options(part)).double().eval()


def stirred(part: Part, sizes: Sizes) -> Cell:
    """A cell with a little noise on its parameters: if they start at zero, nothing may depend on anything."""
    cell = built(part, sizes)
    with torch.no_grad():
        for parameter in trained(cell).values():
            parameter.add_(torch.randn_like(parameter), alpha=0.01)
    return cell


def trained(cell: Cell) -> dict[str, torch.nn.Parameter]:
    """The parameters that training changes."""
    return {name: parameter for name, parameter in cell.named_parameters() if parameter.requires_grad}


def inputs(sizes: Sizes, time: int | None = None) -> Tensor:
    """(time, batch, input_size) float64."""
    return torch.randn(sizes.time if time is None else time, sizes.batch, sizes.input, dtype=torch.float64)


def lived_in(cell: Cell, sizes: Sizes, time: int = 4, scale: float = 1.0) -> State:
    """A state after some steps."""
    xs = inputs(sizes, time) * scale
    return states.detach(cell.sequence(xs, cell.initial_state(sizes.batch))[1])


def some_resets(sizes: Sizes) -> Tensor:
    """(time, batch) bool, true in about three of ten places."""
    return torch.rand(sizes.time, sizes.batch) < 0.3


def one_reset(sizes: Sizes) -> Tensor:
    """(time, batch) bool, true for one row at the middle step."""
    resets = torch.zeros(sizes.time, sizes.batch, dtype=torch.bool)
    resets[sizes.middle - 1, sizes.row] = True
    return resets


def is_real(leaf: Tensor) -> bool:
    """Whether a leaf of a state has real or complex numbers, and so a gradient: a counter has none."""
    return leaf.is_floating_point() or leaf.is_complex()


def close(what: str, got: Tensor, wanted: Tensor, tolerance: float = 1e-10) -> None:
    """Fail unless the tensors have one shape and nearly the same numbers; integers must be equal."""
    assert got.shape == wanted.shape, f"{what}: the shape is {tuple(got.shape)}, not {tuple(wanted.shape)}"
    if not is_real(wanted):
        assert torch.equal(got, wanted), f"{what} are not equal"
        return
    same = torch.allclose(got, wanted, rtol=tolerance, atol=tolerance)
    assert same, f"{what} differ by {float((got - wanted).detach().abs().max()):.2g}"


def close_states(got: State, wanted: State, tolerance: float = 1e-10) -> None:
    """The same for each leaf of two states."""
    for one, other in zip(states.leaves(got), states.leaves(wanted), strict=True):
        close("the states", one, other, tolerance)
