"""Prefetch: a thread prepares the next items while the current ones are processed."""

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

DEPTH = 4
"""Number of items that may wait."""
PATIENCE = 0.1
"""Seconds between checks whether more items are wanted."""


def read_ahead(items: Iterable[T]) -> Iterator[T]:
    """The same items in the same order, and the same error if there is one.

    It helps if items are produced or used without the GIL, as by file reads and kernels.
    """
    ready: queue.Queue[tuple[T] | BaseException | None] = queue.Queue(DEPTH)
    abandoned = threading.Event()

    def put(item: tuple[T] | BaseException | None) -> None:
        while not abandoned.is_set():
            try:
                ready.put(item, timeout=PATIENCE)
                return
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in items:
                put((item,))
                if abandoned.is_set():
                    return
            put(None)
        except BaseException as error:  # any error is raised again in the consumer
            put(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while (found := ready.get()) is not None:
            if isinstance(found, BaseException):
                raise found
            yield found[0]
    finally:
        abandoned.set()
        thread.join()
