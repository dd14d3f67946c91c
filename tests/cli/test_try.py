"""`lmkit try`: lines filled in and continued by several models, from a pipe and on a terminal."""

import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import lmkit
from lmkit.cli import cli


@pytest.fixture(scope="module")
def counts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two n-gram models, which need no training; one knows a character that clears a terminal."""
    folder = tmp_path_factory.mktemp("counts")
    (folder / "text.txt").write_text("the cat sat on the mat\nthe dog ran\n" * 20, encoding="utf-8")
    (folder / "bell.txt").write_text(("a\x1b[2Jb c" * 20 + "\n") * 3, encoding="utf-8")
    for name, text, order, tokenizer in (
        ("bi", "text", 2, "word"),
        ("tri", "text", 3, "word"),
        ("bell", "bell", 4, "char"),
    ):
        lmkit.train(
            folder / f"{text}.txt", model="ngram", order=order, tokenizer=tokenizer, out=folder / name
        )
    return [folder / "bi", folder / "tri", folder / "bell"]


def typed(lines: str | bytes, *line: object) -> Result:
    return CliRunner().invoke(cli, ["try", *map(str, line)], input=lines)


def test_blanks_are_filled_side_by_side(counts: list[Path]) -> None:
    """A column for each model with its best fills, as many as :top says."""
    result = typed("the ____ sat\n:top 1\nthe ____ sat\n", *counts[:2])
    assert result.exit_code == 0, result.stderr
    first, second = result.stdout.split("> :top 1")
    assert first.startswith("> the ____ sat\n| bi")
    assert first.count("\n| ") == 7
    assert second.count("\n| ") == 3
    answers = lmkit.fill({"bi": counts[0]}, "the ____ sat")["bi"].filled
    assert f"| {answers.candidates[0]}  {answers.shares[0]:.1%}" in second


def test_other_lines_are_continued_by_each(counts: list[Path]) -> None:
    """The text is that of `generate` with the settings of the prompt; greedy at temperature 0."""
    result = typed(":temperature 0\n:tokens 3\nthe cat\n", *counts[:2])
    assert result.exit_code == 0, result.stderr
    for run in counts[:2]:
        text = lmkit.load(run).generate("the cat", max_tokens=3, temperature=0.0)[0].text
        assert f"{run.name}:\nthe cat{text}\n" in result.stdout
    seeded = [typed("the\n", counts[0], "--seed", 3).stdout for _ in range(2)]
    assert seeded[0] == seeded[1]
    assert "bi:" not in seeded[0]


def test_candidates_and_reasons(counts: list[Path]) -> None:
    """:candidates ranks given words until it is taken back, :why shows what the best depends on."""
    result = typed(":candidates cat，dog\n:why\nthe ____ sat\n:candidates\n:why\n", counts[1])
    assert result.exit_code == 0, result.stderr
    assert "candidates: cat, dog" in result.stdout
    assert "cat  " in result.stdout
    assert "mat  " not in result.stdout
    assert "tri: the" in result.stdout
    assert "[cat]" in result.stdout
    assert result.stdout.endswith("candidates: the models' own proposals\n> :why\nwhy: not shown\n")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (":nonsense", "no command :nonsense"),
        (":tops 3", "did you mean"),
        (":temperature warm", "not a number from 0"),
        (":temperature nan", "not a number from 0"),
        (":tokens 0", "not a whole number from 1"),
        (":top ３", "not a whole number from 1"),
        ("____ and ____", "2 blanks"),
    ],
)
def test_a_bad_line_is_said_and_the_next_one_works(counts: list[Path], line: str, message: str) -> None:
    """No mistake at the prompt ends the dialogue."""
    result = typed(f"{line}\n:top 2\n", *counts[:2])
    assert result.exit_code == 0
    assert message in result.stderr
    assert result.stderr.count("error:") == 1
    assert result.stdout.endswith("top: 2\n")


def test_leaving(counts: list[Path]) -> None:
    """:quit leaves at once, the end of the lines too; blank lines and the help ask no model."""
    result = typed(":help\n\n:quit\nthe\n", counts[0])
    assert result.exit_code == 0
    assert ":temperature X" in result.stdout
    assert "> the" not in result.stdout
    bad = typed(b"the\n\xff\n", counts[0])
    assert bad.exit_code == 3
    assert "line 2: not UTF-8" in bad.stderr


def test_a_model_that_cannot_leaves_the_others(counts: list[Path], several: dict[str, Path]) -> None:
    """An encoder fills in, but continues nothing: its error names it."""
    result = typed("the\nthe ____ sat\n", several["elmo"], counts[0])
    assert result.exit_code == 0
    assert "error: elmo: " in result.stderr
    assert "elmo:\n" not in result.stdout
    assert "bi:\nthe" in result.stdout
    assert "| elmo" in result.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are Unix's")
def test_on_a_terminal(counts: list[Path]) -> None:
    """Ctrl-C stops a text and gives up a line, Ctrl-D leaves; no text controls the terminal."""
    master, slave = pty.openpty()
    program = [
        sys.executable,
        "-c",
        "from lmkit.cli import main; main()",
        "try",
        str(counts[2]),
        "--max-tokens",
        "1000000",
        "--temperature",  # greedy, the text never ends: its lines repeat themselves
        "0",
    ]
    environment = {**os.environ, "TERM": "dumb", "NO_COLOR": "1"}
    process = subprocess.Popen(
        program, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True,
        preexec_fn=_takes_terminal,
    )  # fmt: skip
    os.close(slave)
    shown = ""

    def read(until: str, again: bytes = b"") -> str:
        """What is shown before a text. again: typed each second until then."""
        nonlocal shown
        end = time.monotonic() + 120
        while until not in shown and time.monotonic() < end:
            if select.select([master], [], [], 1)[0]:
                shown += os.read(master, 65536).decode(errors="replace")
            else:
                os.write(master, again)
        assert until in shown, shown
        before, shown = shown.split(until, 1)
        return before

    try:
        read("> ")
        os.write(master, b"a\n")
        assert "\x1b[2J" not in read("\\x1b[2Jb")
        os.write(master, b"\x03")
        read("stopped")
        read("> ")
        os.write(master, b"____ b\x03")
        # Python notices a Ctrl-C just before it waits for a key only at the next one.
        read("> ", again=b"\x03")
        os.write(master, b":top 2\n")
        read("top: 2")
        read("> ")
        os.write(master, b"\x04")
        assert process.wait(60) == 0
    finally:
        process.send_signal(signal.SIGKILL)
        os.close(master)


def _takes_terminal() -> None:
    """Make standard input the terminal that Ctrl-C is typed at."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
