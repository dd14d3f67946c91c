"""The plugin: one cell, described without importing torch."""

from dataclasses import dataclass

from lmkit import CellSpec, hookimpl, option


@dataclass(frozen=True)
class MyCellOptions:
    """What `--cell mycell` takes."""

    forget_bias: float = option(0.0, "added to the forget gate before its sigmoid", min=-10, max=10)


@hookimpl
def lmkit_cells() -> list[CellSpec]:
    return [
        CellSpec(
            name="mycell",
            target="lmkit_demo_cell.cell:MyCell",
            summary="A coupled cell that somebody wrote this morning",
            options=MyCellOptions,
        )
    ]
