"""Parts with one fault each are caught by the rule about it, and right parts of unusual kinds by none."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from lmkit.part_files import part_from_file
from lmkit.testing import checks_of

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PAGE = ROOT / "docs" / "check.md"


def _script() -> ModuleType:
    """docs/make_check.py, which knows the wrong parts and writes the page."""
    spec = importlib.util.spec_from_file_location("make_check", ROOT / "docs" / "make_check.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


make_check = _script()
WRONG = make_check.wrong_parts()
RIGHT = [
    *(
        f"{HERE}/wrong/{name}"
        for name in ("decoders.py:Draws", "encoders.py:Lengths", "models.py:Bigram", "loggers.py:Lines")
    ),
    *(f"{HERE}/wrong/tokenizers.py:{name}" for name in ("Bytes", "Words")),
    *(
        f"{HERE}/right/cells.py:{name}"
        for name in re.findall(
            r"^class (\w+)\(\w*Cell\)", (HERE / "right/cells.py").read_text(), re.MULTILINE
        )
    ),
]


def rounded(text: str) -> str:
    """A text without its fractions, whose last digits depend on the processor."""
    return re.sub(r"\d+\.\d+(e-?\d+)?", "0.0", text)


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.name)
def test_a_wrong_part_is_caught_by_name(wrong) -> None:
    """The rule that its docstring names catches it at a line of its file; docs/check.md has the line that it gets."""
    failure = wrong.failure()
    row = wrong.row(failure)
    assert rounded(row) in rounded(PAGE.read_text(encoding="utf-8")), "run python docs/make_check.py"
    assert Path(failure.place.file) == wrong.file
    function = failure.place.name.rpartition(".")[2]
    # A decorated function begins with its decorator.
    above = wrong.file.read_text(encoding="utf-8").splitlines()[: failure.place.line + 1]
    assert [line for line in above if "def " in line][-1].lstrip().startswith(f"def {function}(")


def test_the_page_of_the_rules_is_current() -> None:
    """docs/check.md has every rule and every wrong part, and no others."""
    page = PAGE.read_text(encoding="utf-8")
    assert make_check.HEAD in page, "run python docs/make_check.py"
    assert make_check.rules_text() in page, "run python docs/make_check.py"
    table = page.partition(make_check.WRONG_HEAD)[2]
    assert table.count("\n") == len(WRONG) >= 20


@pytest.mark.parametrize("name", RIGHT, ids=lambda name: name.rpartition(":")[2])
def test_a_right_part_keeps_every_rule(name: str) -> None:
    """Integer, complex, learned and oddly shaped states, dropout, thresholds and parts with little memory are right."""
    broken = {check.name: check.failure() for check in checks_of(part_from_file(name))}
    assert not any(broken.values()), {name: failure for name, failure in broken.items() if failure}
