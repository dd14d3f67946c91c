"""Interfaces of cells: what runs a cell reads it by them, and knows no cell."""

from pathlib import Path

import pytest

import lmkit.recurrence.interfaces as interfaces


@pytest.mark.parametrize(
    "name",
    [
        "interfaces",
        "kernels",
        "compiling",
        "native",
        "native_steps",
        "steps",
        "gradients",
        "window",
        "tiers",
        "engine",
    ],
)
def test_the_engine_imports_no_cell(name):
    """Cells import the engine, never the reverse, not even for type checkers."""
    source = Path(interfaces.__file__).with_name(f"{name}.py").read_text(encoding="utf-8")
    assert "recurrence.cells" not in source
    assert "TYPE_CHECKING" not in source
