"""What the commands show on a real terminal, through a pseudo-terminal of a given width."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time

import pytest
from rich.cells import cell_len

import lmkit

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are Unix's")

PROGRAM = (sys.executable, "-c", "from lmkit.cli import main; main()")


class Terminal:
    """A program whose three streams are a terminal."""

    def __init__(
        self, *line: str, columns: int = 80, program: tuple[str, ...] = PROGRAM, colours: bool = False
    ) -> None:
        self._master, slave = pty.openpty()
        termios.tcsetwinsize(slave, (50, columns))
        environment = {**os.environ, "TERM": "xterm", "NO_COLOR": "1"}
        for name in ("COLUMNS", *(["NO_COLOR"] if colours else [])):
            environment.pop(name, None)
        self.process = subprocess.Popen(
            [*program, *line],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment,
            start_new_session=True,
        )
        os.close(slave)
        self.output = ""

    def read(self, until: str | None = None, seconds: float = 60) -> str:
        """What it prints up to a text, or up to its end."""
        end = time.monotonic() + seconds
        raw = b""
        while time.monotonic() < end and (until is None or until.encode() not in raw):
            if not select.select([self._master], [], [], 0.1)[0]:
                continue
            try:
                data = os.read(self._master, 65536)
            except OSError:  # the other end is closed
                data = b""
            if not data:
                break
            raw += data
        self.output += raw.decode(errors="replace").replace("\r\n", "\n")
        return self.output

    def end(self) -> int:
        self.read()
        os.close(self._master)
        return self.process.wait(60)


def shown(*line: str, columns: int = 80, colours: bool = False) -> str:
    """What a command prints on a terminal; it succeeds."""
    terminal = Terminal(*line, columns=columns, colours=colours)
    assert terminal.end() == 0, terminal.output
    return terminal.output


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs of an n-gram model of words and a neural one of characters, which knows an escape."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "words.txt").write_text("the cat sat on the mat , 床前 明月 光\n" * 40, encoding="utf-8")
    (folder / "bell.txt").write_text("a\x1b[2Jb\tc\u3000d\n" * 60, encoding="utf-8")
    lmkit.train(
        folder / "words.txt", model="ngram", order=2, tokenizer="word", out=folder / "a-word-ngram-of-order-2"
    )
    lmkit.train(
        folder / "words.txt", model="ngram", order=3, tokenizer="word", out=folder / "a-word-ngram-of-order-3"
    )
    lmkit.train(folder / "bell.txt", model="ngram", order=4, tokenizer="char", out=folder / "bell")
    return folder


@pytest.mark.parametrize(
    ("columns", "command"),
    [(60, "list"), (120, "list"), (60, "show"), (60, "eval"), (80, "eval"), (60, "context"), (60, "fill")],
)
def test_tables_fit_the_terminal(runs, columns, command):
    """No line of a table is wider than the terminal, and it is no Markdown; piped it is, and complete."""
    names = [str(runs / f"a-word-ngram-of-order-{order}") for order in (2, 3)]
    line = {
        "list": ("plugins", "list"),
        "show": ("plugins", "show", "recurrent"),
        "eval": ("eval", *names, str(runs / "words.txt")),
        "context": ("context", *names, "--data", str(runs / "words.txt"), "--no-gradients"),
        "fill": ("fill", *names, "the cat ____ on the mat", "--why"),
    }[command]
    text = shown(*line, columns=columns)
    tables = [row for row in text.splitlines() if not row.startswith(("warning", "note"))]
    assert max(map(cell_len, tables)) <= columns, text
    assert "| --" not in text


def test_piped_tables_are_markdown(runs):
    """Where stdout is no terminal the same command writes Markdown."""
    line = [*PROGRAM, "plugins", "list"]
    assert "| ---" in subprocess.run(line, capture_output=True, text=True, check=True).stdout


def test_why_has_numbers_on_a_terminal(runs):
    """--why shows each word's cost in figures, whatever the colours."""
    line = ("fill", str(runs / "a-word-ngram-of-order-2"), "the cat ____ on the mat", "--why")
    for colours in (False, True):
        text = re.sub(r"\x1b\[[0-9;]*m", "", shown(*line, colours=colours))
        assert re.search(r"cat\([+-][0-9.]+\)", text)
        assert "costs the answer, nats" in " ".join(text.split())
        assert any(row.split()[:1] == ["cat"] for row in text.splitlines())


def test_generated_escapes_are_shown(runs):
    """What a model writes cannot clear the screen: escapes are shown, tabs and spaces stay; a pipe has all as it is."""
    line = ("generate", str(runs / "bell"), "--prompt", "a", "--decoder", "greedy", "--max-tokens", "9")
    text = shown(*line)
    # A note of kernels that are compiled may come first.
    assert text.replace("      ", "\t").splitlines()[-1] == "a\\x1b[2Jb\tc\u3000d"
    piped = subprocess.run([*PROGRAM, *line], capture_output=True, check=True).stdout
    assert piped == "a\x1b[2Jb\tc\u3000d\n".encode()


def test_a_streamed_text_is_the_text(runs):
    """The terminal shows the prompt and the text that --json has."""
    line = (
        "generate",
        str(runs / "a-word-ngram-of-order-3"),
        "--prompt",
        "the cat",
        "--seed",
        "4",
        "--num",
        "2",
    )
    answer = json.loads(subprocess.run([*PROGRAM, *line, "--json"], capture_output=True, check=True).stdout)
    assert shown(*line).endswith("".join(f"the cat{row['text']}\n" for row in answer))
    piped = subprocess.run([*PROGRAM, *line], capture_output=True, check=True).stdout.decode()
    assert piped == "".join(f"the cat{row['text']}\n" for row in answer)


ENDLESS = """
import sys, time
from lmkit.cli import cli, console
from lmkit import api
class Model:
    class tokenizer:
        lossless = True
        class vocabulary:
            unk_id = None
        @staticmethod
        def encode(line):
            import numpy as np
            from types import SimpleNamespace
            return SimpleNamespace(ids=np.zeros(0), spans=np.zeros((0, 2)))
    def generate(self, prompt, on_text, **settings):
        for number in range(10**6):
            on_text(f" word{number}")
            time.sleep(0.01)
api.load = lambda *args, **settings: Model()
cli.main()
"""


def test_ctrl_c_ends_a_text_with_its_line(tmp_path):
    """An interrupted text ends with a line end, a line that says so, and exit code 130."""
    terminal = Terminal("generate", "run", "--prompt", "once", program=(sys.executable, "-c", ENDLESS))
    assert "once word0 word1" in terminal.read(until="word5")
    os.killpg(terminal.process.pid, signal.SIGINT)
    assert terminal.end() == 130
    assert terminal.output.endswith("\nerror: interrupted\n")
    assert terminal.output.count("\n") == 2
    with (tmp_path / "out").open("wb") as out:
        child = subprocess.Popen(
            [sys.executable, "-c", ENDLESS, "generate", "run", "--prompt", "once"],
            stdout=out,
            stderr=subprocess.PIPE,
        )
        while b"word5" not in (tmp_path / "out").read_bytes():
            time.sleep(0.05)
        child.send_signal(signal.SIGINT)
        assert child.wait(60) == 130
    assert (tmp_path / "out").read_bytes().endswith(b"\n")


BARS = """
import logging, sys, time
from lmkit.cli import cli, console
import click
console.BAR_AFTER = -1.0
@cli.command("bars")
@click.argument("how")
def bars(how):
    for item in console.progress(range(10), total=10, label="outer"):
        for inner in console.progress(range(3), total=3, label="inner"):
            time.sleep(0.05)
        if item == 1:
            logging.getLogger("x").warning("careful")
        if item == 2 and how == "error":
            from lmkit.errors import DataError
            raise DataError("it is broken; fix it")
        if item == 2 and how == "wait":
            print("waiting", file=sys.stderr)
            time.sleep(60)
from lmkit.cli import COMMANDS
COMMANDS["bars"] = ("bars", "")
import types
sys.modules["bars"] = types.SimpleNamespace(command=bars)
cli.main()
"""


@pytest.mark.parametrize("how", ["end", "error", "wait"])
def test_no_bar_stays_and_messages_are_whole_lines(how):
    """Bars are drawn and gone at the end, after an error and after Ctrl-C; messages are lines above them."""
    screen = Screen()
    terminal = Terminal("bars", how, program=(sys.executable, "-c", BARS), colours=True)
    if how == "wait":
        terminal.read(until="waiting")
        os.killpg(terminal.process.pid, signal.SIGINT)
    code = terminal.end()
    assert code == {"end": 0, "error": 3, "wait": 130}[how]
    assert "outer" in terminal.output
    last = {"end": [], "error": ["error: it is broken; fix it"], "wait": ["waiting", "error: interrupted"]}[
        how
    ]
    lines = [line for line in screen.feed(terminal.output) if line]
    # A signal amid rich's writing has it write a line again, which is not for this test to decide.
    assert list(dict.fromkeys(lines)) == ["warning: careful", *last]


class Screen:
    """As much of a terminal as bars need: lines, erasing a line, and moving up."""

    def feed(self, text: str) -> list[str]:
        """The lines on the screen after a text."""
        lines, row, column = [""], 0, 0
        for part in re.findall(r"\x1b\[[?0-9;]*[A-Za-z]|[\s\S]", text):
            if part.startswith("\x1b"):
                number = int(part[2:-1] or 1) if part[2:-1].isdigit() or not part[2:-1] else 1
                if part[-1] == "A":
                    row -= number
                elif part[-1] == "K":
                    lines[row] = "" if part == "\x1b[2K" else lines[row][:column]
            elif part == "\r":
                column = 0
            elif part == "\n":
                row, column = row + 1, 0
                lines += [""] * (row + 1 - len(lines))
            else:
                lines[row] = lines[row][:column].ljust(column) + part + lines[row][column + 1 :]
                column += 1
        return [line.rstrip() for line in lines]
