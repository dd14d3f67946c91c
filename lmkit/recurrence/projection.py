"""Projection inside the recurrence and clips of the state, around any gated cell."""

from typing import cast

import torch
from torch import Tensor, nn

from lmkit.errors import UsageError
from lmkit.neural.products import Projection
from lmkit.recurrence.cells import Cell, GatedCell


class ProjectedCell(GatedCell):
    """r_t = clip(W_p h_t) is the output and what the next step's recurrent product reads, in place of h_t.

    Sak et al. (2014), arXiv:1402.1128, for any cell whose products the engine owns. The state is (r, h, ...), the
    cell's own after r. projection_size: None leaves W_p out, and the state is the cell's. projection_clip: r lies
    within it. cell_clip: every state after h (c of an LSTM) is put within it after each step.
    Raises UsageError for a cell whose recurrent product is not the engine's.
    """

    def __init__(
        self,
        cell: Cell,
        projection_size: int | None = None,
        projection_clip: float | None = None,
        cell_clip: float | None = None,
    ) -> None:
        # Not that of GatedCell: the products are those of the cell within.
        Cell.__init__(self, cell.input_size, cell.hidden_size, cell.options)
        gated = as_gated(cell, "a projection or a clip in the recurrence", "--projection-size and the clips")
        if cell_clip is not None and len(gated.state_names) == 1:
            raise UsageError(
                f"--cell-clip bounds the memory beside the output, of which {type(cell).__name__} has none; "
                "leave it out"
            )
        if projection_clip is not None and projection_size is None:
            raise UsageError("--projection-clip bounds a projection: give --projection-size too")
        self.cell = gated
        self.projection_clip = projection_clip
        self.cell_clip = cell_clip
        self.weight_p: nn.Parameter | None = None
        if projection_size is not None:
            bound = cell.hidden_size**-0.5
            self.weight_p = nn.Parameter(torch.empty(projection_size, cell.hidden_size))
            gated.weight_hh = nn.Parameter(torch.empty(len(gated.weight_hh), projection_size))
            for weight in (self.weight_p, gated.weight_hh):
                nn.init.uniform_(weight, -bound, bound)

    @property
    def weight_ih(self) -> Tensor:
        return self.cell.weight_ih

    @property
    def bias_ih(self) -> Tensor:
        return self.cell.bias_ih

    @property
    def weight_hh(self) -> Tensor:
        return self.cell.weight_hh

    @property
    def bias_hh(self) -> Tensor:
        return self.cell.bias_hh

    @property
    def output_size(self) -> int:
        return self.hidden_size if self.weight_p is None else len(self.weight_p)

    def projection(self) -> Projection | None:
        return None if self.weight_p is None else Projection(self.weight_p, self.projection_clip)

    def initial_state(self, batch_size: int) -> tuple[Tensor, ...]:
        inner = self.cell.initial_state(batch_size)
        return inner if self.weight_p is None else (inner[0].new_zeros(batch_size, self.output_size), *inner)

    def gates(self, x: Tensor, h: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        output, *memory = self.cell.new_state(x, h, state)
        if self.cell_clip is not None:
            memory = [m.clamp(-self.cell_clip, self.cell_clip) for m in memory]
        return (output, *memory)


def as_gated(cell: Cell, what: str, option: str) -> GatedCell:
    """The same cell; UsageError unless the engine computes its W_hh h."""
    if not owns_products(cell) or not cast(GatedCell, cell).recurrent:
        raise UsageError(
            f"{what} needs a cell whose recurrent product the engine computes (a GatedCell such as lstm); "
            f"{type(cell).__name__} is not one: leave out {option}, or take another --cell"
        )
    return cast(GatedCell, cell)


def owns_products(cell: Cell) -> bool:
    """Whether a step of the cell is `gates` of the engine's two products and nothing else."""
    return isinstance(cell, GatedCell) and type(cell).forward is GatedCell.forward
