"""An error in a part's code shows the author's file, the line and the shapes, and says who can correct it."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from lmkit import plugins
from lmkit.blame import described, form, remedy_for
from lmkit.cli import cli
from lmkit.part_files import part_from_file, use

HEAD = """import numpy as np
import torch
from lmkit.contracts import Decoder, Encoding, Tokenizer, Vocabulary
from lmkit.recurrence import Cell, GatedCell, LinearCell
"""  # four lines

STATE = "    def initial_state(self, batch_size):\n        return torch.zeros(batch_size, self.hidden_size)\n"
STRINGS = """class Mine(Tokenizer):
    vocabulary = Vocabulary(256, 0, None, "strings")
    @classmethod
    def fit(cls, lines, options): return cls()
    def encode(self, line): return Encoding([str(byte) for byte in line.encode()], np.zeros((len(line), 2)))
    def decode(self, ids): return ""
    def residual_bits(self, line, ids): return 0.0
    def save(self, directory): pass
    @classmethod
    def load(cls, directory, options): return cls()
"""

CELLS = {
    "wide": (
        "class Mine(GatedCell):\n    num_gates = 2\n    def gates(self, x, h, state):\n        return x + h\n",
        "gates (mine.py, line 7) gave ((2, 16),), wanted ((2, 8),), a tensor for each of state_names (h)",
    ),
    "length": (
        "class Mine(GatedCell):\n    state_names = ('h', 'c')\n"
        "    def gates(self, x, h, state):\n        return x + h\n",
        "gates (mine.py, line 7) gave ((2, 8),), wanted ((2, 8), (2, 8)), a tensor for each of state_names (h, c)",
    ),
    "dtype": (
        "class Mine(GatedCell):\n    def gates(self, x, h, state):\n        return (x + h).double()\n",
        "gates (mine.py, line 6) gave ((2, 8) float64,), wanted ((2, 8),)",
    ),
    "name": (
        "class Mine(GatedCell):\n    def gates(self, x, h, state):\n        return x + hh\n",
        "mine.py, line 7, in gates: NameError: name 'hh' is not defined; given x (2, 8), h (2, 8), state ((2, 8),)",
    ),
    "option": (
        "class Mine(GatedCell):\n    def gates(self, x, h, state):\n        return x * self.options.slope\n",
        "mine.py, line 7, in gates: it has no option 'slope': declare it in a dataclass (docs/plugins.md)",
    ),
    "sizes": (
        "class Mine(GatedCell):\n    num_gates = 3\n    def gates(self, x, h, state):\n        return x + state[0]\n",
        "mine.py, line 8, in gates: RuntimeError: The size of tensor a (24) must match the size of tensor b (8) at "
        "non-singleton dimension 1; given x (2, 24), h (2, 24), state ((2, 8),)",
    ),
    "one": (
        f"class Mine(Cell):\n{STATE}    def forward(self, x, state):\n        return x + state\n",
        "forward (mine.py, line 8) gave (2, 8), wanted a pair: the output and the new state",
    ),
    "state": (
        f"class Mine(Cell):\n{STATE}    def forward(self, x, state):\n        return x, (x,)\n",
        "forward (mine.py, line 8) gave a state ((2, 8),), at the start it is (2, 8)",
    ),
    "start": (
        "class Mine(Cell):\n    def initial_state(self, batch_size):\n        return torch.zeros(self.hidden_size)\n"
        "    def forward(self, x, state):\n        return x, state\n",
        "initial_state (mine.py, line 6) gave (8,) for a batch of 2, which must be dimension 0",
    ),
    "pair": (
        "class Mine(LinearCell):\n    def coefficients(self, z):\n        return (z,)\n",
        "coefficients (mine.py, line 6) gave ((2, 16),), wanted ((2, 8), (2, 8)), the pair a, b",
    ),
    "training": (
        "class Mine(GatedCell):\n    def gates(self, x, h, state):\n        assert not torch.is_grad_enabled(), 'now'\n"
        "        return x + h\n",
        "the cell Mine of mine.py failed: mine.py, line 7, in gates: AssertionError: now; given x (2, 8), h (2, 8), "
        "state ((2, 8),); correct it (lmkit --debug shows the traceback)",
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("the cat sat on the mat\n" * 40, encoding="utf-8")
    return tmp_path


def train(text: str, *flags: str) -> Result:
    """Train with the class Mine of mine.py, which begins after HEAD."""
    Path("mine.py").write_text(HEAD + text, encoding="utf-8")
    small = "--max-steps 2 --batch-size 2 --bptt 8 --threads 1 --tier loop --hidden-size 8"
    return CliRunner().invoke(cli, ["train", "text.txt", "--out", "run", *small.split(), *flags])


def error_of(result: Result) -> str:
    assert result.exit_code == 6, result.output
    (error,) = [line for line in result.stderr.splitlines() if line.startswith("error:")]
    assert "author" not in error
    assert "correct it" in error
    return error


@pytest.mark.parametrize("mistake", CELLS)
def test_cells(mistake: str) -> None:
    """The place in one's own file, what was given and what was expected; nobody is told to report to themselves."""
    text, message = CELLS[mistake]
    error = error_of(train(text, "--cell", "mine.py:Mine"))
    assert error.startswith("error: the cell Mine of mine.py")
    assert message in error


def test_a_tokenizer_of_strings() -> None:
    """Ids that are no numbers are refused, by the class of the tokenizer."""
    error = error_of(train(STRINGS, "--model", "gru", "--tokenizer", "mine.py:Mine"))
    assert "the tokenizer Mine of mine.py gave a list as ids, wanted an array of int32" in error


def test_decoders() -> None:
    """A decoder that raises, and one that gives no hypotheses."""
    for returns, message in (
        ("[3]", "the decoder Mine of mine.py returned int objects, not Hypothesis objects"),
        (
            "model.next_log_probs(state)[99]",
            "mine.py, line 7, in generate: IndexError: index 99 is out of bounds",
        ),
    ):
        text = f"class Mine(Decoder):\n    def generate(self, model, state, **settings):\n        return {returns}\n"
        assert (
            train(text, "--cell", "gru", "--tokenizer", "word", "--min-count", "1", "--overwrite").exit_code
            == 0
        )
        assert message in error_of(CliRunner().invoke(cli, ["generate", "run", "--decoder", "mine.py:Mine"]))


def test_debug_shows_the_traceback() -> None:
    """--debug prints the traceback with the line of one's own file before the error."""
    text, _ = CELLS["name"]
    Path("mine.py").write_text(HEAD + text, encoding="utf-8")
    result = CliRunner().invoke(
        cli, ["--debug", "train", "text.txt", "--cell", "mine.py:Mine", "--out", "run"]
    )
    assert f'File "{Path("mine.py").resolve()}", line 7, in gates' in result.stderr


@pytest.mark.parametrize("editable", [True, False])
def test_an_editable_distribution_is_ones_own(
    editable: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who installed a plugin with `pip install -e` is its author; others are told to report to the author."""
    site = tmp_path / "site" / "acme_cells-1.2.dist-info"
    site.mkdir(parents=True)
    (site / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: acme-cells\nVersion: 1.2\n", encoding="utf-8"
    )
    if editable:
        (site / "direct_url.json").write_text(
            '{"url": "file:///x", "dir_info": {"editable": true}}', encoding="utf-8"
        )
    monkeypatch.syspath_prepend(str(site.parent))
    part = plugins.Part(
        plugins.registry().find("cell", "gru").spec, plugins.Plugin("acme", "acme-cells", "1.2", dict)
    )
    assert part.remedy == ("correct it" if editable else "report it to its author")


def test_names_of_objects(tmp_path: Path) -> None:
    """An object of a file's class is named by the file, one of no part by its class."""
    Path("mine.py").write_text(HEAD + STRINGS, encoding="utf-8")
    plugins.registry.cache_clear()
    mine = part_from_file("mine.py:Mine").load()()
    assert described(mine).endswith(":Mine")
    use("mine.py:Mine")
    assert (described(mine), remedy_for(mine)) == ("the tokenizer Mine of mine.py", "correct it")
    assert described(tmp_path).endswith(
        f"{sys.modules[type(tmp_path).__module__].__name__}:{type(tmp_path).__name__}"
    )
    plugins.registry.cache_clear()


def test_forms() -> None:
    """Shapes with their types unless these are float32; nothing for what has no shape."""
    assert form(torch.zeros(2, 3)) == "(2, 3)"
    assert form(torch.zeros(2, dtype=torch.int64)) == "(2,) int64"
    assert form(np.zeros(4)) == "(4,) float64"
    assert form((torch.zeros(1), (torch.zeros(2, 2),))) == "((1,), ((2, 2),))"
    assert form((torch.zeros(1), 3)) == form("text") == form(()) == ""
