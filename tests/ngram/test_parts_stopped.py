"""A count in parts that is stopped by a signal leaves nothing half-written, and the same command then succeeds."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

STOPS = """
import os, signal, sys
from lmkit_ngram import part_merge, parts

step, number = sys.argv.pop(1), int(sys.argv.pop(1))

def stop(*_, **__):
    os.kill(os.getpid(), number)
    signal.pause()

setattr(*{"smooth": (parts._Job, "smooth"), "merge": (part_merge.Merge, "_place_ngrams")}[step], stop)
"""
"""The process stops itself before a step, after the parts or some arrays of the model were written."""
MAIN = "from lmkit.cli import main; main()"


def train(folder: Path, *, before: str = "", first: tuple[str, ...] = ()) -> tuple[int, str]:
    """The exit code and messages of a training."""
    command = [
        sys.executable, "-c", before + MAIN, *first, "train", "text.txt", "--model", "ngram", "--order", "3",
        "--tokenizer", "word", "--no-store-text", "--memory", "8G", "--scratch", "scratch", "--out", "run",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, done.stderr


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of the model of a training that was not stopped."""
    folder = tmp_path_factory.mktemp("whole")
    write_text(folder)
    assert train(folder)[0] == 0
    return files_of(folder / "run" / "ngram")


def write_text(folder: Path) -> None:
    lines = [" ".join(f"w{i * j % 11}" for j in range(1 + i % 7)) for i in range(200)]
    (folder / "text.txt").write_text("\n".join(lines) + "\n")


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize(
    ("number", "step", "code"),
    [
        (signal.SIGINT, "smooth", 130),
        (signal.SIGTERM, "merge", 143),
        (signal.SIGKILL, "smooth", -9),
        (signal.SIGKILL, "merge", -9),
    ],
)
def test_the_same_command_begins_again(
    tmp_path: Path, wanted: dict[str, bytes], number: int, step: str, code: int
) -> None:
    """After Ctrl-C and SIGTERM nothing is left; after SIGKILL, the leftovers are removed, and a line says so."""
    write_text(tmp_path)
    stopped, messages = train(tmp_path, before=STOPS, first=(step, str(int(number))))
    assert stopped == code, messages
    if number == signal.SIGKILL:
        assert not (tmp_path / "run" / "lmkit.json").exists(), "a half-written model is no run"
    else:
        assert not (tmp_path / "run").exists()
        assert list((tmp_path / "scratch").iterdir()) == []
    again, messages = train(tmp_path)
    assert again == 0, messages
    assert files_of(tmp_path / "run" / "ngram") == wanted
    assert list((tmp_path / "scratch").iterdir()) == []
    assert not (tmp_path / "run" / ".fitting").exists()
    if number == signal.SIGKILL:
        assert "run: a training was stopped here before it saved anything; it begins again" in messages
        assert "scratch: the parts of a stopped count are removed; counting begins again" in messages
