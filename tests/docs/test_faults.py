"""docs/faults.md is held by tests: every row names at least one, and every one that it names exists."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from lmkit import errors

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8").partition("## Mutations")[0]
COLUMNS = 4
CODES = {0, 1, 130, 143, *(kind.exit_code for kind in errors.LmkitError.__subclasses__())}


def rows() -> list[list[str]]:
    """The cells of the tables that have a column of tests, without their headings."""
    lines = [line.strip("|").split("|") for line in PAGE.splitlines() if line.startswith("|")]
    found = [[cell.strip() for cell in line] for line in lines]
    return [
        cells for cells in found if len(cells) == COLUMNS and set(cells[0]) != {"-"} and cells[3] != "tests"
    ]


@cache
def names_of_tests(path: str) -> frozenset[str]:
    """The names of the test functions of a file, read but not run."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("cells", rows(), ids=lambda cells: cells[0])
def test_every_row_is_held_by_tests_that_exist(cells: list[str]) -> None:
    """The last cell is a list of `path::name`, and each is a test in that file."""
    *_, named = cells
    found = re.findall(r"`([\w/]+\.py)::(test_\w+)`", named)
    assert found, "no test holds this row"
    assert ", ".join(f"`{path}::{name}`" for path, name in found) == named
    missing = [f"{path}::{name}" for path, name in found if name not in names_of_tests(path)]
    assert not missing


@pytest.mark.parametrize("cells", rows(), ids=lambda cells: cells[0])
def test_every_row_has_codes_that_lmkit_exits_with(cells: list[str]) -> None:
    """The third cell is empty or lists exit codes."""
    assert {int(code) for code in cells[2].split(",") if code} <= CODES


def test_the_page_has_its_tables() -> None:
    """A row that stops being one, for a bar too many, would be lost without a word."""
    tables = PAGE.count("| what goes wrong |")
    lines = sum(line.startswith("|") for line in PAGE.partition("## Data")[2].splitlines())
    assert len(rows()) == lines - 2 * tables
