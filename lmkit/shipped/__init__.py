"""The recipes that ship with lmkit: their files, and what each says about itself."""

import tomllib
from pathlib import Path
from typing import Any

from lmkit.errors import UsageError, suggest

FOLDER = Path(__file__).parent
FIRST_RUN = "first-run"
"""The recipe of a training without text."""
ABOUT = "about"
"""The table of a recipe that describes it, and sets nothing."""


def names() -> list[str]:
    """The names of the recipes, in alphabetical order."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def find(name: str) -> Path:
    """The file of a recipe; UsageError for an unknown name."""
    if name not in names():
        raise UsageError(f"there is no recipe '{name}'; {suggest(name, names())}")
    return FOLDER / f"{name}.toml"


def find_or_file(given: str) -> Path:
    """The path of a recipe's file, from that path or from the name of a recipe that ships; a file takes precedence."""
    path = Path(given)
    if path.exists() or path.suffix or len(path.parts) != 1:
        return path
    if given not in names():
        raise UsageError(f"there is no recipe or file '{given}'; {suggest(given, names())}")
    return find(given)


def about(name: str) -> dict[str, Any]:
    """What a recipe says about itself: its task, paper, the paper's result and lmkit's."""
    return tomllib.loads(find(name).read_text(encoding="utf-8"))[ABOUT]
