"""Read what a cell says about itself in its docstring: what it is, and its equations."""

import inspect
import itertools
import textwrap

HEADING = "Equations:"
"""The line of a docstring before the equations, which are the indented lines after it."""


def description(cell: type) -> str:
    """The first paragraph of a class's own docstring, in one line."""
    lines = itertools.takewhile(lambda line: line.strip() not in ("", HEADING), _lines(cell))
    return " ".join(line.strip() for line in lines)


def equations(cell: type) -> list[str]:
    """The lines of the equations in a class's own docstring; none if it has no such section."""
    lines = _lines(cell)
    if HEADING not in lines:
        return []
    after = lines[lines.index(HEADING) + 1 :]
    block = itertools.takewhile(lambda line: not line or line.startswith(" "), after)
    return textwrap.dedent("\n".join(block)).strip("\n").splitlines()


def _lines(cell: type) -> list[str]:
    return inspect.cleandoc(cell.__doc__ or "").splitlines()
