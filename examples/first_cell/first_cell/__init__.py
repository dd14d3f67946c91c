from lmkit import CellSpec, hookimpl


@hookimpl
def lmkit_cells():
    return [CellSpec("first-cell", "first_cell.cell:FirstCell", "A coupled cell of ten lines")]
