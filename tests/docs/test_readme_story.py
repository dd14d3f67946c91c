"""README's story from n-grams to a GRU, unchanged except for shorter trainings."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from lmkit.cli import cli

ROOT = Path(__file__).parent.parent.parent
SHORT = "--max-steps 3 --hidden-size 16"
LMKIT = f'lmkit() {{ "{sys.executable}" -m lmkit "$@"; }}'


def story() -> str:
    """The shell lines of the section, without the installation."""
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    section = page.split("\n## ")[1]
    lines = [
        line
        for block in re.findall(r"^```sh\n(.*?)^```$", section, re.M | re.S)
        for line in block.splitlines()
    ]
    assert lines[0].startswith("pip install")
    return "\n".join(lines[1:])


def run(script: str, folder: Path) -> str:
    """What the lines print; any that fails ends them."""
    result = subprocess.run(
        ["bash", "-c", f"set -e\n{LMKIT}\n{script}"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def check(printed: str, folder: Path) -> None:
    """Every run is compared, the blank is filled by both models, and the picture is drawn."""
    for name in ("ngram", "rnn", "gru", "both"):
        assert f"| {name} " in printed
    assert printed.count("share of these") == 2
    assert (folder / "context.png").stat().st_size > 10_000


def test_story(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The section's lines run from top to bottom, in one process; each training is cut to a few steps."""
    pytest.importorskip("matplotlib")
    short = (
        story()
        .replace("lmkit train --model rnn", f"lmkit train --model rnn {SHORT}")
        .replace("lmkit train --out", f"lmkit train {SHORT} --out")
        .replace("--longest 50", "--longest 5 --windows 20")
    )
    assert short.count(SHORT) == 2
    monkeypatch.chdir(tmp_path)
    printed = ""
    for line in short.splitlines():
        program, *words = shlex.split(line)
        assert program == "lmkit"
        result = CliRunner().invoke(cli, words)
        assert result.exit_code == 0, result.output
        printed += result.stdout
    check(printed, tmp_path)


@pytest.mark.slow
def test_whole_story(tmp_path: Path) -> None:
    """The unchanged lines, with the trainings that the page's figures come from."""
    pytest.importorskip("matplotlib")
    check(run(story(), tmp_path), tmp_path)
