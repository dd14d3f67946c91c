"""`lmkit plugins check`: the report, its JSON, and the exit codes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lmkit.cli import cli

WRONG = Path(__file__).parent.parent / "testing" / "wrong"
CELL = """
import torch
from lmkit.recurrence import GatedCell


class MyCell(GatedCell):
    def gates(self, x, h, state):
        return {gates}
"""


def check(*line: object) -> Result:
    return CliRunner().invoke(cli, ["plugins", "check", *map(str, line)])


def test_a_right_part() -> None:
    """One line and exit code 0."""
    found = check("greedy")
    assert (found.exit_code, found.stdout.count("\n")) == (0, 1), found.output
    assert found.stdout == "decoder greedy: 16 of 16 rules kept\n"


def test_a_wrong_class_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 6; the rule in words, what failed, the smallest input, what to change, and the author's line."""
    (tmp_path / "mycell.py").write_text(CELL.format(gates="torch.tanh(x + h.mean(0))"))
    monkeypatch.chdir(tmp_path)
    found = check("./mycell.py:MyCell")
    assert found.exit_code == 6
    lines = found.stdout.splitlines()
    assert lines[0] == "cell ./mycell.py:MyCell: 19 of 22 rules kept"
    start = lines.index("check_batch_invariance: A row gives the same outputs alone and in a batch.")
    assert lines[start + 1].startswith("  problem: the outputs of a row alone and in the batch differ by ")
    # A shorter sequence from the same state than the rule's usual one, with two rows.
    assert lines[start + 2] == "  input:   input_size 1, hidden_size 1, batch 2, time 1"
    assert lines[start + 3].startswith("  change:  keep rows apart: ")
    assert lines[start + 4] == "  where:   mycell.py:7, MyCell.gates"


def test_one_error_is_reported_once(tmp_path: Path) -> None:
    """An error of the author's code that most rules meet is shown with the first, at its line."""
    file = tmp_path / "mycell.py"
    file.write_text(CELL.format(gates="torch.tanh(x + h) @ torch.zeros(7, 7)"))
    found = check(f"{file}:MyCell")
    assert found.exit_code == 6
    assert found.stdout.count("problem:") <= 3, found.stdout
    assert f"where:   {file}:8, MyCell.gates" in found.stdout
    assert "also:    check_sequence_is_loop, " in found.stdout


def test_a_part_that_cannot_be_made_is_not_tested() -> None:
    """A mixture is made of runs, so that only its spec can be tested; the line says so, and nothing is broken."""
    found = check("interpolated")
    assert found.exit_code == 0
    assert found.stdout.startswith(
        "model interpolated: 5 of 5 rules kept; 13 not tested: a mixture is made of"
    )
    row = json.loads(check("interpolated", "--json").stdout)[0]
    assert [rule["result"] for rule in row["rules"]] == ["kept"] * 5 + ["not tested"] * 13


def test_json() -> None:
    """--json has every rule of each part; a broken one has the failure, its file and its line."""
    file = WRONG / "decoders.py"
    found = check(f"{file}:EmitsTheUnknown", f"{file}:Draws", "--json")
    assert found.exit_code == 6
    wrong, right = json.loads(found.stdout)
    assert (wrong["kind"], wrong["name"], wrong["passed"]) == ("decoder", f"{file}:EmitsTheUnknown", False)
    assert right["passed"]
    assert all(rule["result"] == "kept" and rule["rule"] for rule in right["rules"])
    (broken,) = (rule for rule in wrong["rules"] if rule["result"] != "kept")
    assert broken["result"] == "broken"
    assert broken["check"] == "check_forbidden"
    assert broken["problem"].startswith("the unknown id 1 is emitted")
    assert {"rule", "input", "change"} <= broken.keys()
    assert broken["file"] == str(file)
    assert file.read_text(encoding="utf-8").splitlines()[broken["line"]].lstrip() == "def generate("


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        (["greedi"], 2, "did you mean 'greedy'?"),
        (["greedy", "--kind", "cell"], 2, "there is no cell called 'greedy'"),
        (["absent:part"], 6, "pip install 'absent'"),
        ([WRONG / "cells.py"], 2, "names no class"),
        ([f"{WRONG / 'cells.py'}:Absent"], 2, "has no class 'Absent'"),
        ([f"{WRONG / 'cells.py'}:torch"], 6, "is not a class"),
        ([], 2, "Missing argument"),
    ],
)
def test_what_cannot_be_checked(line: list[object], code: int, said: str) -> None:
    """One line with the remedy, and the exit code of the error."""
    found = check(*line)
    assert (found.exit_code, said in found.output) == (code, True), found.output


def test_checks_need_assertions() -> None:
    """Under python -O, which leaves assertions out, nothing passes unchecked."""
    command = [sys.executable, "-O", "-m", "lmkit.testing", "greedy"]
    found = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ})
    assert (found.returncode, found.stdout) == (2, "")
    assert "python -O" in found.stderr
