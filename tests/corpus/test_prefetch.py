"""Reading ahead changes nothing but the time that it takes."""

import threading
from collections.abc import Iterator

import pytest

from lmkit.corpus.prefetch import DEPTH, read_ahead


def test_the_same_items_in_the_same_order():
    """However many there are."""
    for count in (0, 1, DEPTH, 100):
        assert list(read_ahead(range(count))) == list(range(count))


def test_an_error_comes_after_the_items_before_it():
    """As if it had not been read ahead."""

    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("damaged")

    items = read_ahead(broken())
    assert next(items) == 1
    with pytest.raises(ValueError, match="damaged"):
        next(items)


def test_whoever_stops_early_leaves_no_thread_behind():
    """What was abandoned ends, though it would never have."""
    before = threading.active_count()
    for item in read_ahead(iter(int, 1)):
        assert item == 0
        break
    assert threading.active_count() == before
