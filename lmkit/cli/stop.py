"""How a command ends: by SIGINT and SIGTERM, and quickly when it is done."""

import atexit
import contextlib
import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import NoReturn

TERMINATED = 143

AGAIN = 0.05
"""Seconds until a signal that could not end the command is sent again."""

PATIENCE = 30.0
"""Seconds of an import after which a signal ends it all the same."""


def handle_signals() -> None:
    """Let SIGINT and SIGTERM end the command; training handles both while it runs, since it saves first."""
    stop = Stop()
    signal.signal(signal.SIGTERM, stop)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a job in the background ignores it
        signal.signal(signal.SIGINT, stop)
    sys.unraisablehook = stop.ignored


class Stop:
    """The handler: it ends the command by an exception, where that can be raised.

    Not while a module is imported: inside the C++ code that starts a module (torch's), an exception ends the process
    by SIGABRT. In a callback from C or a destructor, Python ignores exceptions. In both cases the signal is sent again
    a moment later.

    since: when a signal first came that waits for the end of an import. raised: the exception.
    """

    def __init__(self) -> None:
        self.since: float | None = None
        self.raised: KeyboardInterrupt | SystemExit | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        self.since = now if self.since is None else self.since
        if _importing(frame) and now - self.since < PATIENCE:
            _send_again(number)
            return
        self.since = None
        self.raised = KeyboardInterrupt() if number == signal.SIGINT else SystemExit(TERMINATED)
        raise self.raised

    def ignored(self, problem: "sys.UnraisableHookArgs") -> None:
        """The hook for exceptions that Python ignores."""
        if problem.exc_value is not self.raised or self.raised is None:
            sys.__unraisablehook__(problem)
        elif isinstance(self.raised, KeyboardInterrupt):
            _send_again(signal.SIGINT)
        else:
            _send_again(signal.SIGTERM)


def asked_to_stop() -> KeyboardInterrupt | SystemExit | None:
    """The exception by which a signal ends the command, if one came.

    Code in C may make it another one: torch's constructors make it a ValueError about shapes.
    """
    handler = signal.getsignal(signal.SIGTERM)
    return handler.raised if isinstance(handler, Stop) else None


def go_on() -> None:
    """Forget the signal that came: the command has handled it and goes on, as at a prompt."""
    handler = signal.getsignal(signal.SIGTERM)
    if isinstance(handler, Stop):
        handler.raised = None


def _send_again(number: int) -> None:
    again = threading.Timer(AGAIN, os.kill, (os.getpid(), number))
    again.daemon = True
    again.start()


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def leave_at_once(code: int) -> NoReturn:
    """End the process as Python does, but without freeing its memory, which takes numba and torch up to a second."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if isinstance(signal.getsignal(number), Stop):
            signal.signal(number, signal.SIG_DFL)
    threading._shutdown()  # pyright: ignore[reportAttributeAccessIssue] (waits for threads)
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)
