"""Guards what SIGINT and SIGTERM do to a command: its exit code at once, and after an import that is under way."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lmkit.cli import stop

COMMAND = "from lmkit.cli.stop import handle_signals; handle_signals(); import {module}"
SLOW = """
import os, signal, time
print("begun", flush=True)
os.kill(os.getpid(), signal.{name})
time.sleep(4 * {again})
print("imported", flush=True)
"""


def ended(program: str, *folders: Path) -> "subprocess.CompletedProcess[str]":
    """A Python program that has ended; it can import lmkit and what is in the folders."""
    path = os.pathsep.join([*map(str, folders), *sys.path])
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize(("name", "code"), [("SIGINT", -signal.SIGINT), ("SIGTERM", 143)])
def test_an_import_is_finished_before_the_command_ends(tmp_path: Path, name: str, code: int) -> None:
    """C++ that a module runs when it is imported aborts the process when a handler raises in it."""
    (tmp_path / "slow.py").write_text(SLOW.format(name=name, again=stop.AGAIN), encoding="utf-8")
    wait = "; import time; time.sleep(60)"
    done = ended(COMMAND.format(module="slow") + wait, tmp_path)
    assert done.returncode == code, done.stderr
    assert done.stdout.split() == ["begun", "imported"]


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
def test_a_hanging_import_can_be_ended(
    monkeypatch: pytest.MonkeyPatch, number: signal.Signals, error: type[BaseException]
) -> None:
    """After the time that imports get, the signal ends the import too."""
    monkeypatch.setattr(stop, "_importing", lambda _: True)
    monkeypatch.setattr(stop, "PATIENCE", 0.0)
    with pytest.raises(error):
        stop.Stop()(number, None)


def test_a_prompt_that_goes_on_has_not_been_asked_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a Ctrl-C that was handled, an error is an error, and the next signal waits for an import again."""
    handler, sent = stop.Stop(), []
    monkeypatch.setattr(signal, "getsignal", lambda _: handler)
    monkeypatch.setattr(stop, "_send_again", sent.append)
    with pytest.raises(KeyboardInterrupt):
        handler(signal.SIGINT, None)
    assert isinstance(stop.asked_to_stop(), KeyboardInterrupt)
    stop.go_on()
    assert stop.asked_to_stop() is None
    assert handler.since is None
    monkeypatch.setattr(stop, "_importing", lambda _: True)
    handler(signal.SIGINT, None)
    assert sent == [signal.SIGINT]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 143)])
def test_a_destructor_does_not_swallow_a_signal(number: signal.Signals, code: int) -> None:
    """Python ignores exceptions in destructors and in callbacks from C, such as those of llvmlite's cache."""
    program = f"""
import os, time
from lmkit.cli.stop import handle_signals
handle_signals()
class Thing:
    def __del__(self):
        os.kill(os.getpid(), {int(number)})
        time.sleep(0.01)
Thing()
time.sleep(60)
"""
    done = ended(program)
    assert done.returncode == code, done.stderr
    assert "Exception ignored" not in done.stderr


def test_a_job_in_the_background_goes_on_ignoring_sigint(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell lets its background jobs ignore SIGINT; lmkit leaves that as it is."""
    before = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        stop.handle_signals()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before[0])
        signal.signal(signal.SIGTERM, before[1])


def test_leaving_at_once_loses_nothing() -> None:
    """The exit code stays, what was printed is printed, and what waits for the end of the process is called."""
    program = """
import atexit, threading, time
from lmkit.cli.stop import leave_at_once
atexit.register(print, "at exit")
threading.Thread(target=lambda: (time.sleep(0.1), print("thread"))).start()
print("printed")
leave_at_once(3)
"""
    done = ended(program)
    assert (done.returncode, done.stdout, done.stderr) == (3, "printed\nthread\nat exit\n", "")
