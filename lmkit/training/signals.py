"""SIGINT and SIGTERM during training: the first requests a stop at the end of a step."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from lmkit.errors import LmkitError


class StopRequest:
    """Whether a signal has requested a stop, and which."""

    signal: int | None = None

    def __call__(self) -> bool:
        return self.signal is not None


class Interrupted(LmkitError):  # noqa: N818 (it is no error: what was trained is saved)
    """Training was stopped by a signal, after saving; the exit code is 128 plus the signal's number."""

    label = ""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + number


@contextlib.contextmanager
def stop_on_signals(*, patient: bool = False) -> Iterator[StopRequest]:
    """Inside the block, SIGINT and SIGTERM set the request; a second SIGINT stops at once, as usual.

    patient: it does not; a launcher of processes sends one more SIGINT than the terminal.
    In threads other than the main one, where Python allows no handlers, signals are unchanged.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def ask(number: int, frame: FrameType | None) -> None:
        if request.signal is not None and number == signal.SIGINT and not patient:
            raise KeyboardInterrupt
        request.signal = number

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
