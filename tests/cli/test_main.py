"""The command as a process: exit codes, start-up, pipes and signals."""

import signal
import subprocess
import sys

import pytest

from lmkit import errors

HEAVY = ("torch", "numpy", "datasets", "sentencepiece", "tomlkit")
LOADED = (
    "import atexit, sys;"
    "atexit.register(lambda: print([m for m in {0!r} if m in sys.modules], file=sys.stderr));"
)
RUN = "from lmkit.cli import main; main()"


def run(*line: str, before: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", before + RUN, *line], capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize(
    "line", [("--help",), ("--version",), ("plugins", "list"), ("train", "--model", "gru", "--help")]
)
def test_light_commands_import_nothing_heavy(line):
    """Help and lists answer at once: no torch, no numpy behind them."""
    result = run(*line, before=LOADED.format(HEAVY))
    assert (result.returncode, result.stderr.splitlines()[-1]) == (0, "[]")


def test_help_lists_the_commands(lmkit):
    """`lmkit --help` names every command with its line."""
    text = lmkit("--help").stdout
    assert all(name in text for name in ("train", "eval", "generate", "plugins", "--no-plugins", "--debug"))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.LmkitError("x"), 1),
        (errors.UsageError("x"), 2),
        (errors.DataError("x"), 3),
        (errors.ModelError("x"), 4),
        (errors.CheckpointError("x"), 5),
        (errors.PluginError("x"), 6),
    ],
)
def test_each_error_has_its_exit_code_and_one_line(lmkit, api, error, code):
    """An error of ours is one line on stderr and its class's exit code."""
    api.failure = error
    result = lmkit("generate", "run")
    assert (result.exit_code, result.stderr, result.stdout) == (code, "error: x\n", "")


def test_an_unforeseen_error_is_one_line_too(lmkit, api):
    """A bug is told in one line; --debug shows the traceback."""
    api.failure = RuntimeError("two\nlines")
    result = lmkit("generate", "run")
    assert result.exit_code == 1
    assert result.stderr == "error: internal RuntimeError: two lines; run with lmkit --debug and report it\n"
    assert "Traceback" in lmkit("--debug", "generate", "run").stderr


def test_a_file_that_cannot_be_written_is_no_bug(lmkit, api):
    """An error of the operating system names the file."""
    api.failure = PermissionError(13, "Permission denied", "/there")
    assert "error: /there: Permission denied" in lmkit("generate", "run").stderr


def test_an_interrupt_is_130(lmkit, api):
    """Ctrl-C exits with 130, without a traceback."""
    api.failure = KeyboardInterrupt()
    result = lmkit("generate", "run")
    assert (result.exit_code, "Traceback" in result.stderr) == (130, False)


@pytest.mark.parametrize("limit", ["nan", "inf"])
def test_a_limit_on_archives_is_a_number(lmkit, tmp_path, limit):
    """NaN compares as false with every size, and would be no limit at all."""
    result = lmkit("import", "archive", "a.tar.gz", "--out", tmp_path / "r", "--max-expansion", limit)
    assert (result.exit_code, "must be a finite number" in result.stderr) == (2, True)


def test_a_misspelt_command_gets_a_suggestion(lmkit):
    """`lmkit trian` is a usage error that names `train`."""
    result = lmkit("trian")
    assert (result.exit_code, "did you mean 'train'?" in result.stderr) == (2, True)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_sigterm_is_143():
    """A terminated command exits with 143, not by the signal."""
    wait = (
        "import sys, time, types; m = types.ModuleType('lmkit.api');"
        "m.load = lambda *a, **k: (print('ready', flush=True), time.sleep(30)); sys.modules['lmkit.api'] = m;"
        "import lmkit; lmkit.api = m;"
    )
    with subprocess.Popen(
        [sys.executable, "-c", wait + RUN, "generate", "run"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 143


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX pipes")
def test_a_closed_pipe_is_quiet():
    """`lmkit plugins list | head` leaves no complaint behind."""
    with subprocess.Popen(
        [sys.executable, "-c", RUN, "plugins", "list"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(10) == 141
