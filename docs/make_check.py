"""Write docs/check.md from the rules and the wrong parts of the tests: python docs/make_check.py."""

import ast
import os
import re
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner

from lmkit.cli import cli
from lmkit.part_files import part_from_file
from lmkit.testing import Failure, checks_of, common
from lmkit.testing.suite import RULES

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "check.md"
WRONG = Path("tests/testing/wrong")
EXAMPLE = WRONG / "cells.py:ForgetsBetweenEqualSizes"
HEAD = """# Checking a part

Made by `python docs/make_check.py`: do not edit.

`lmkit plugins check` tests a part against the rules that every part of its kind follows. The built-in parts follow \
them too. It takes the name of an installed part, all parts of a distribution, or a class in a file that is no plugin \
yet; lmkit runs that file.

```sh
lmkit plugins check gru
lmkit plugins check 'first-cell:*'        # all parts of a distribution
lmkit plugins check ./mycell.py:MyCell    # a class in a file
```

The exit code is 0 if the part keeps every rule, 6 if it breaks one or cannot be loaded, 2 for an unknown name. \
`--kind` chooses between parts of one name. A part that needs an extra, or is not made from text, is tested as far as \
possible, and its line says so. `--json` prints every rule with its result ("kept", "broken", "not tested") and the \
failure, with the file and the line of your source.

## The report

A report names each broken rule, what failed, the smallest input found that shows it, what to change, and where. The \
place is the line of your source that raised an error, otherwise the method that the rule is about. This cell ignores \
its state where input and state are equally wide, as they are in every layer but the first:

```text
"""
AFTER = """```

Rules about sizes are tested with sizes that all differ and with input = hidden = batch; an input that keeps the \
rule is named too. States may hold integers, booleans or complex numbers, have any shape whose dimension 0 is the \
batch, and start from learned values. A state of integers has no gradient.

`python -m lmkit.testing NAME` is the same command. In pytest, each rule is a test \
([plugins](plugins.md#is-it-right)); `check.failure()` returns the failure as an object instead of raising it.

## The rules

"""
WRONG_HEAD = """## Wrong parts, and the line that each gets

Each of these parts has one fault. The tests hold them (`tests/testing/wrong`), and check that the named rule catches \
each and that this table is true. A part usually breaks further rules.

| part | fault | rule | what failed, with the smallest input |
|---|---|---|---|
"""


@dataclass(frozen=True)
class WrongPart:
    """A class of the tests, its fault, and the name of the rule that it breaks."""

    file: Path
    name: str
    fault: str
    rule: str

    def failure(self) -> Failure:
        """How it breaks the rule."""
        part = part_from_file(f"{self.file}:{self.name}")
        failure = next(check.failure() for check in checks_of(part) if check.name == self.rule)
        assert failure is not None, f"{self.name} keeps {self.rule}"
        return failure

    def row(self, failure: Failure) -> str:
        """Its row of the table."""
        text = failure.problem + (f"; {failure.input}" if failure.input else "")
        return f"| `{self.name}` | {self.fault} | `{self.rule}` | {_code(text)} |"


def wrong_parts() -> list[WrongPart]:
    """The classes whose docstrings end with the name of a rule."""
    found = []
    for file in sorted((ROOT / WRONG).glob("*.py")):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            text = ast.get_docstring(node) if isinstance(node, ast.ClassDef) else None
            if isinstance(node, ast.ClassDef) and (
                match := re.fullmatch(r"(.+) \((check_\w+)\)\.", text or "")
            ):
                found.append(WrongPart(file, node.name, match[1], match[2]))
    return found


def rules_text() -> str:
    """The rules of each kind."""
    kinds = {"Every part": common.RULES.rules, "Installed parts": common.PACKAGED.rules}
    kinds |= {f"{kind.capitalize()}s": rules for kind, rules in RULES.items()}
    sections = []
    for title, rules in kinds.items():
        rows = [f"| `{rule.name}` | {rule.text} | {rule.change} |" for rule in rules]
        sections.append(
            "\n".join([f"### {title}\n", "| name | rule | what to change |", "|---|---|---|", *rows, ""])
        )
    return "\n".join(sections)


def example() -> str:
    """The report of a wrong part."""
    return CliRunner().invoke(cli, ["plugins", "check", str(EXAMPLE)]).stdout


def render() -> str:
    """The whole page."""
    rows = [wrong.row(wrong.failure()) for wrong in wrong_parts()]
    return HEAD + example() + AFTER + rules_text() + "\n" + WRONG_HEAD + "\n".join(rows) + "\n"


def _code(text: str) -> str:
    """Code in a table of Markdown."""
    return f"``{text}``".replace("|", "\\|")


if __name__ == "__main__":
    os.chdir(ROOT)
    PAGE.write_text(render(), encoding="utf-8", newline="\n")
