"""SIGINT and SIGTERM during training."""

import signal
import threading

import pytest

from lmkit.training.signals import Interrupted, StopRequest, stop_on_signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_requests_a_stop(number: signal.Signals) -> None:
    """It raises nothing; afterwards the former handlers are back."""
    before = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    with stop_on_signals() as request:
        assert not request()
        signal.raise_signal(number)
        assert request()
        assert request.signal == number
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_second_interrupt_stops_at_once() -> None:
    """It raises KeyboardInterrupt, also after SIGTERM; a second SIGTERM does not."""
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), stop_on_signals() as request:  # noqa: PT012
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert request()
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) == before


def test_other_threads_change_no_handler() -> None:
    """Python allows handlers in the main thread alone; elsewhere the request is never set."""
    before = signal.getsignal(signal.SIGINT)
    found: list[tuple[bool, object]] = []

    def work() -> None:
        with stop_on_signals() as request:
            found.append((request(), signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [(False, before)]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_exit_codes(number: signal.Signals, code: int) -> None:
    """128 plus the number of the signal, as a shell expects."""
    assert Interrupted("stopped", number).exit_code == code
    assert StopRequest().signal is None
