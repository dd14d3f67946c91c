"""The plugin: a cell whose name another distribution has too."""

from lmkit import CellSpec, hookimpl


@hookimpl
def lmkit_cells() -> list[CellSpec]:
    return [CellSpec(name="mycell", target="lmkit_demo_clash.cell:OtherCell", summary="A leaky integrator")]
