"""A class of a file becomes a part without being installed, and mistakes in the file are named with their lines."""

from pathlib import Path

import pytest

from lmkit.errors import LmkitError, PluginError, UsageError
from lmkit.part_files import is_file, part_from_file
from lmkit.specs import NoOptions

CELL = '''"""A cell."""

from dataclasses import dataclass

import torch

from lmkit import option
from lmkit.recurrence import GatedCell


@dataclass(frozen=True)
class MyOptions:
    bias: float = option(0.0, "added to the sum")


class MyCell(GatedCell):
    """The plainest cell."""

    options: MyOptions

    def gates(self, x, h, state):
        return torch.tanh(x + h + self.options.bias)
'''


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mycell.py"
    path.write_text(CELL, encoding="utf-8")
    return path


def test_a_cell(file: Path) -> None:
    """The class tells the kind, its docstring the summary, and the annotation of `options` the options."""
    part = part_from_file(f"{file}:MyCell")
    assert (part.kind, part.long_name, part.text) == ("cell", "file:MyCell", CELL)
    assert part.spec.summary == "The plainest cell."
    assert part.spec.options.__name__ == "MyOptions"
    assert part.load()(3, 4, part.spec.options(bias=1.0)).hidden_size == 4
    assert part.describe() == f"the cell MyCell of {file}"


KINDS = {
    "cell": "from lmkit.recurrence import Cell as Base",
    "tokenizer": "from lmkit.contracts import Tokenizer as Base",
    "decoder": "from lmkit.contracts import Decoder as Base",
    "model": "from lmkit.contracts import LanguageModel as Base",
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind(kind: str, tmp_path: Path) -> None:
    """A class of each kind is found; without the methods of its kind, the error names them."""
    file = tmp_path / "mine.py"
    file.write_text(f"{KINDS[kind]}\nclass Mine(Base): pass\n", encoding="utf-8")
    with pytest.raises(PluginError, match=r"mine\.py:Mine does not implement "):
        part_from_file(f"{file}:Mine")
    file.write_text(f"{KINDS[kind]}\nclass Mine(Base): pass\nMine.__abstractmethods__ = frozenset()\n")
    part = part_from_file(f"{file}:Mine")
    assert (part.kind, part.spec.options) == (kind, NoOptions)


def test_options_of_a_built_in_that_it_inherits(tmp_path: Path) -> None:
    """A subclass of a built-in part has the options of that part."""
    file = tmp_path / "mine.py"
    file.write_text(
        "from lmkit_recurrent.lstm import LSTMCell\nclass Mine(LSTMCell): pass\n", encoding="utf-8"
    )
    assert part_from_file(f"{file}:Mine").spec.options.__name__ == "LSTMOptions"


def test_a_file_is_run_once_until_it_changes(file: Path) -> None:
    """The class stays the same while the text does; a changed file is run again."""
    first = part_from_file(f"{file}:MyCell").load()
    assert part_from_file(f"{file}:MyCell").load() is first
    file.write_text(CELL.replace("tanh", "sin"), encoding="utf-8")
    assert part_from_file(f"{file}:MyCell").load() is not first


def test_names_of_files() -> None:
    """Names of parts and of files are told apart."""
    assert is_file("./mycell.py:MyCell")
    assert is_file("C:\\cells\\mycell.py:MyCell")
    assert is_file("mycell.py")
    assert not any(map(is_file, ("gru", "lmkit:gru", "word:words.txt", "file:MyCell", "")))


MISTAKES = {
    "syntax": ("x = 1\ny = = 2\n", "A", r"mine\.py, line 2: invalid syntax: y = = 2"),
    "import": ("import torch\nimport no_such_thing\n", "A", r"mine\.py, line 2: ModuleNotFoundError.*install no_such"),
    "sibling": ("import beside\n", "A", r"line 1: ModuleNotFoundError.*run alone: put both in one file"),
    "fails": ("def f():\n    return 1 / 0\n\nf()\n", "A", r"mine\.py, line 2: ZeroDivisionError: division by zero"),
    "exits": ("import sys\nsys.exit(3)\n", "A", r"mine\.py, line 2: SystemExit: 3"),
    "zero": ("x = 1\0\n", "A", r"mine\.py.*null bytes"),
    "name": ("class Mine: pass\n", "Mien", r"has no class 'Mien'; did you mean 'Mine'\?"),
    "class": ("Mine = 3\n", "Mine", r"mine\.py:Mine is not a class but int"),
    "kind": ("class Mine: pass\n", "Mine", r"mine\.py:Mine is not a part: let it inherit one of Tokenizer, Cell"),
    "without": (f"{KINDS['cell']}\nclass Mine(Base): pass\n", "", r"mine\.py' names no class: write .*mine\.py:Mine"),
    "two": (
        "from lmkit.recurrence import Cell\nfrom lmkit.contracts import Decoder\nclass Mine(Cell, Decoder): pass\n",
        "Mine",
        "is a cell and a decoder; let it inherit only one",
    ),
    "options": (
        "from lmkit_recurrent.gru import GRUCell\nclass Mine(GRUCell):\n    options: int\n",
        "Mine",
        "its options must be a frozen dataclass",
    ),
    "annotation": (
        "from lmkit_recurrent.gru import GRUCell\nclass Mine(GRUCell):\n    options: 'Typo'\n",
        "Mine",
        "its annotation of `options` fails: NameError: name 'Typo'",
    ),
    "call": (
        "from lmkit_recurrent.gru import GRUCell\nclass Mine(GRUCell):\n    def __init__(self, size): ...\n",
        "Mine",
        r"cannot be called with \(input_size, hidden_size, options\)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes(mistake: str, tmp_path: Path) -> None:
    """Each mistake gets one line with the file, the line where it has one, and what to do."""
    text, name, message = MISTAKES[mistake]
    (tmp_path / "beside.py").write_text("", encoding="utf-8")
    file = tmp_path / "mine.py"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(LmkitError, match=message) as caught:
        part_from_file(f"{file}:{name}" if name else f"{file}:")
    assert "\n" not in str(caught.value)


def test_no_file(file: Path) -> None:
    """A file that does not exist is a usage error that names the nearest; so is a name without a class."""
    with pytest.raises(UsageError, match=r"mycel\.py: there is no such file; did you mean '.*mycell\.py'"):
        part_from_file(f"{file.with_name('mycel.py')}:MyCell")
    with pytest.raises(UsageError, match=r"write FILE\.py:CLASS"):
        part_from_file("mycell:MyCell")
