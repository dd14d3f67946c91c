"""What a shell completes: options, names of parts and the directories of runs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import BashComplete

from lmkit.cli import cli


def completed(*line: str) -> list[str]:
    """What the last word of a line may become; "dir" or "file" where the shell completes the path."""
    found = BashComplete(cli, {}, "lmkit", "_LMKIT_COMPLETE").get_completions(list(line[:-1]), line[-1])
    return [item.value if item.type == "plain" else item.type for item in found]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a text, two runs and a training without a model."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("a text\n")
    for name, file in {
        "runs/gru": "lmkit.json",
        "runs/kn5": "lmkit.json",
        "runs/half": "recipe.toml",
        "alone": "lmkit.json",
    }.items():
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / file).write_text("{}")
    return tmp_path


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        (["tra"], ["train"]),
        (["minimal"], ["minimal-pairs"]),
        (["train", "--model", "g"], ["gru", "gru-v3"]),
        (["train", "-m", "lst"], ["lstm"]),
        (["train", "--model", "elmo", "--cell", "lst"], ["lstm"]),
        (["train", "--model", "recurrent", "--cell", "gru,lst"], ["gru,lstm"]),
        (["train", "--tokenizer", "sen"], ["sentencepiece"]),
        (["train", "--optimizer", "a"], ["adamw"]),
        (["train", "--model", "ngram", "--smoothing", "stu"], ["stupid-backoff"]),
        (["train", "--learning"], ["--learning-rate"]),
        (["train", "--model", "lstm", "--num-l"], ["--num-layers"]),
        (["train", "--model", "lstm", "--model.num-l"], ["--model.num-layers"]),
        (["generate", "run", "--decoder", "be"], ["beam"]),
        (["generate", "run", "--decoder", "sample", "--temp"], ["--temperature", "--temp"]),
        (["plugins", "show", "lst"], ["lstm"]),
        (["surprisal", "run", "text", "--by", "s"], ["span"]),
    ],
)
def test_names(line: list[str], wanted: list[str]) -> None:
    """Commands, names of parts, choices and options, those of the parts that the line names too."""
    assert completed(*line) == wanted


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        (["eval", ""], ["alone", "runs/gru", "runs/kn5"]),
        (["eval", "ru"], ["runs/gru", "runs/kn5"]),
        (["generate", "runs/"], ["runs/gru", "runs/kn5"]),
        (["compare", "./runs/k"], ["./runs/kn5"]),
        (["eval", "runs/gru", "te"], ["file"]),
        (["eval", "tex"], ["file"]),
        (["distances", "runs/gru", "runs/"], ["runs/kn5"]),
        (["generate", "nowhere"], ["dir"]),
        (["train", "te"], ["file"]),
        (["train", "--resume", "runs/"], ["runs/gru", "runs/half", "runs/kn5"]),
    ],
)
def test_runs(here: Path, line: list[str], wanted: list[str]) -> None:
    """Runs where a run is wanted, those not given yet; else the shell completes paths."""
    assert completed(*line) == wanted


@pytest.mark.parametrize(
    "line",
    [
        ["nothing", ""],
        ["train", "--model", "nosuch", "--le"],
        ["train", "--recipe", "absent.toml", "--le"],
        ["train", "--learning-rate", "x", "--le"],
    ],
)
def test_a_line_with_mistakes(line: list[str]) -> None:
    """A mistake earlier in the line raises nothing while it is typed."""
    completed(*line)


def test_in_bash(here: Path) -> None:
    """The script that click writes completes names and runs in bash."""
    program = here / "bin" / "lmkit"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m lmkit "$@"\n')
    program.chmod(0o755)
    script = """
eval "$(_LMKIT_COMPLETE=bash_source lmkit)"
complete_line() {
    COMPREPLY=(); COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
    _lmkit_completion lmkit
    echo "${COMPREPLY[*]}"
}
complete_line lmkit train --model g
complete_line lmkit eval runs/g
"""
    paths = os.pathsep.join([str(program.parent), os.environ["PATH"]])
    found = subprocess.run(
        ["bash", "-c", script], env={**os.environ, "PATH": paths}, capture_output=True, text=True, check=False
    )
    if "bash: not found" in found.stderr or "version" in found.stderr:
        pytest.skip(found.stderr)
    assert found.stdout.splitlines() == ["gru gru-v3", "runs/gru"], found.stderr


def test_completion_is_light() -> None:
    """Completing imports no torch: it runs at every press of the key."""
    program = (
        "import sys\n"
        "from click.shell_completion import BashComplete\n"
        "from lmkit.cli import cli\n"
        "BashComplete(cli, {}, 'lmkit', '_X').get_completions(['train', '--model'], 'g')\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
