"""examples/distances and examples/story: the commands of the scripts, unchanged except for shorter trainings."""

import re
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from lmkit.cli import cli

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
MODELS = ("ngram-5", "ngram-8", "ngram-11", "window-13", "rnn", "gru", "lstm", "elmo")
RECORDER = """#!/bin/sh
printf '%s\\037' "$@" >> "$CALLS"
echo >> "$CALLS"
"""


def shortened(script: Path) -> str:
    """The text of a script with few sentences, steps and units."""
    text = script.read_text(encoding="utf-8")
    text = re.sub(r"--max-steps \d+", "--max-steps 2 --threads 1", text)
    text = text.replace("--params 100k", "--hidden-size 8").replace("--hidden-size 72", "--hidden-size 8")
    text = text.replace("text=distances:${2:-zh},", "text=distances:${2:-zh},count=120,")
    text = text.replace("part=test,count=500", "part=test,count=20").replace(
        "--longest 50", "--longest 3 --windows 4"
    )
    return text.replace("lmkit distances", "lmkit distances --count 2 --farthest 2")


@pytest.fixture
def commands(tmp_path: Path) -> list[list[str]]:
    """The arguments of each `lmkit` that story.sh, and train.sh in it, would run."""
    for name in ("distances/train.sh", "story/story.sh"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(shortened(EXAMPLES / name), encoding="utf-8")
    recorder = tmp_path / "bin" / "lmkit"
    recorder.parent.mkdir()
    recorder.write_text(RECORDER)
    recorder.chmod(0o755)
    (tmp_path / "out" / "en-3").mkdir(parents=True)
    line = f'CALLS="{tmp_path}/calls" PATH="{recorder.parent}:$PATH" sh story/story.sh out en 3'
    subprocess.run(["sh", "-c", line], cwd=tmp_path, check=True)
    lines = (tmp_path / "calls").read_text(encoding="utf-8").splitlines()
    return [line.split("\037")[:-1] for line in lines]


def test_scripts(tmp_path: Path, commands: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every model of the story is trained, and asked every question."""
    pytest.importorskip("matplotlib")
    folder = tmp_path / "out" / "en-3"
    assert [command[0] for command in commands] == [
        *("train" for _ in MODELS),
        *("compare", "distances", "fill", "context"),
    ]
    for command in commands:
        monkeypatch.chdir(tmp_path if command[0] == "train" else folder)
        assert command[0] != "train" or "--max-steps" in command or "ngram" in command
        result = CliRunner().invoke(cli, command)
        assert result.exit_code == 0, result.stderr
    assert all((folder / name / "lmkit.json").is_file() for name in MODELS)
    for picture in ("compare", "distances", "why", "context"):
        assert (folder / f"{picture}.png").stat().st_size > 10_000
