"""Process parts of arrays in parallel threads: kernels release the GIL."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TypeVar

T = TypeVar("T")


def available() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def side_by_side(calls: Iterable[Callable[[], T]], threads: int) -> list[T]:
    """The results of calls, in order, computed by this many threads; with one, in the caller's thread."""
    if threads == 1:
        return [call() for call in calls]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda call: call(), calls))


def parts(first: int, last: int, count: int) -> list[tuple[int, int]]:
    """Split `first .. last` into `count` ranges of about equal size."""
    cuts = [first + (last - first) * i // count for i in range(count + 1)]
    return list(pairwise(cuts))


def pieces(first: int, last: int, size: int) -> list[tuple[int, int]]:
    """Split `first .. last` into ranges of this size; the last may be smaller."""
    return [(begin, min(begin + size, last)) for begin in range(first, last, size)]


def batched(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """The items in groups of this size; the last may be smaller."""
    return (items[first : first + size] for first in range(0, len(items), size))
