"""Processes that share the work of a command: each opens the model, and their results come in order."""

import logging
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Self, TypeVar

from lmkit.errors import LmkitError
from lmkit.part_files import add_again, to_send
from lmkit.plugins import third_party_is_used, use_third_party

if TYPE_CHECKING:
    from concurrent.futures import Future

J = TypeVar("J")
R = TypeVar("R")

AHEAD = 2
"""Jobs for each worker that may be done or wait while the first result is not taken."""


class Workers:
    """Processes that each call `opening` once, and then work on jobs; a context that ends them.

    opening: a function of a module, or a partial of one; its result is the first argument of every job.
    """

    def __init__(self, count: int, opening: Callable[[], Any]) -> None:
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor

        self.count = count
        self._executor = ProcessPoolExecutor(
            count,
            # A copy of this process, with the threads of torch, might hang.
            multiprocessing.get_context("spawn"),
            initializer=_start,
            initargs=(opening, third_party_is_used(), to_send()),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        processes = list((self._executor._processes or {}).values())
        if any(error):
            for process in processes:
                process.kill()
        self._executor.shutdown(cancel_futures=True)

    def map(self, function: Callable[[Any, J], R], jobs: Iterable[J]) -> Iterator[R]:
        """The results of function(opened, job), in the order of the jobs, which are read as needed.

        Raises the error of the first job that fails, and LmkitError if a worker ends.
        """
        waiting: deque[Future[R]] = deque()
        for job in jobs:
            waiting.append(self._executor.submit(_call, function, job))
            if len(waiting) > AHEAD * self.count:
                yield _result(waiting.popleft())
        while waiting:
            yield _result(waiting.popleft())


_opened: Any = None
"""In a worker, what it works with."""
_problem: Exception | None = None
"""In a worker, why it could not be opened."""


def _start(opening: Callable[[], Any], third_party: bool, files: list[list[str]]) -> None:
    """Prepare a worker."""
    global _opened, _problem
    # Ctrl-C reaches all processes of the terminal; the one that leads then ends the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.dup2(2, 1)  # stdout is for the results of the command, even if a plugin prints
    logging.disable(logging.CRITICAL)  # the process that leads loads the model too, and says the same
    use_third_party(third_party)
    try:
        add_again(files)
        _opened = opening()
    except Exception as error:
        _problem = error


def _end_with_parent() -> None:
    import multiprocessing

    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _call(function: Callable[[Any, J], R], job: J) -> R:
    if _problem is not None:
        raise _problem
    return function(_opened, job)


def _result(future: "Future[R]") -> R:
    from concurrent.futures.process import BrokenProcessPool

    try:
        return future.result()
    except BrokenProcessPool as error:
        raise LmkitError(
            "a worker ended before its work was done, perhaps for lack of memory: give fewer --workers"
        ) from error
