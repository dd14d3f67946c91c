"""The equations in the docstrings of the built-in cells, as `lmkit plugins show` prints them."""

import pytest

from lmkit.cli.equations import description, equations
from lmkit.plugins import registry

CELLS = [part for part in registry().parts("cell") if part.plugin.builtin]
WIDTH = 76
"""Columns beside the indent of 4 in a terminal of 80."""


@pytest.mark.parametrize("part", CELLS, ids=lambda part: part.spec.name)
def test_every_cell_has_equations_for_a_terminal(part) -> None:
    """Each built-in cell says what it is, gives its step in lines that fit a terminal, and names its parameters."""
    cell = part.load()
    lines = equations(cell)
    assert description(cell).endswith(".")
    assert any(line.startswith(("h_t = ", "y_t = ")) for line in lines)
    assert any("weight" in line for line in lines)
    assert all(len(line) <= WIDTH and line.isascii() for line in lines)


def test_the_two_grus_say_which_they_are() -> None:
    """The first lines of both tell the libraries that have it, and where the reset gate acts."""
    first = {part.spec.name: description(part.load()) for part in CELLS}
    assert first["gru"] == (
        "The GRU of torch, keras (reset_after=True), flax, equinox and MLX: r acts after the recurrent product."
    )
    assert first["gru-v3"] == (
        "The GRU of haiku and of keras with reset_after=False: r acts before the recurrent product."
    )


class Base:
    """A base class.

    Equations:
        h_t = 0
    """


class Sectioned(Base):
    """A cell that
    does little.

    Equations:
        f_t = sigmoid(x_t)

          h_t = f_t

    The rest.
    """


class Plain(Base):
    """h_t = tanh(x_t)."""


class Silent(Base):
    pass


def test_the_section_of_a_docstring() -> None:
    """The equations are the indented lines after "Equations:"; a class without its own docstring says nothing."""
    assert description(Sectioned) == "A cell that does little."
    assert equations(Sectioned) == ["f_t = sigmoid(x_t)", "", "  h_t = f_t"]
    assert (description(Plain), equations(Plain)) == ("h_t = tanh(x_t).", [])
    assert (description(Silent), equations(Silent)) == ("", [])
