"""Reading ahead: what is read next is made ready by a thread while what was read is being worked on."""

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

DEPTH = 4
"""Items that may wait."""
PATIENCE = 0.1
"""Seconds between looks whether anybody still wants more."""


def read_ahead(items: Iterable[T]) -> Iterator[T]:
    """The same items in the same order, and the same error where they end in one.

    It pays where items are made outside of Python's lock, or used outside of it, as by file reads and kernels.
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
        except BaseException as error:  # whatever it is, it belongs to whoever reads
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
