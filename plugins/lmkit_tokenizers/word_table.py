"""The distinct words of a text in flat arrays, for texts too large to process word by word in Python."""

from collections.abc import Iterable

import numpy as np

from lmkit.residual import GapCounter
from lmkit_tokenizers.word_kernels import (
    BATCH,
    BEFORE,
    LONGEST_RUN,
    PADDING,
    count_lines,
    look_up_lines,
    move_slots,
)

WORDS_AT_FIRST = 1 << 15
BYTES_A_WORD = 8
"""Initial room for spellings; all room is doubled when it is full."""
ODD_GAPS = 1 << 14
"""Number of strings of other white space than spaces to pass to Python at once."""


class WordTable:
    """Words numbered by their first occurrence, with their counts.

    Words are exact: two with the same hash are distinguished by their bytes.
    """

    def __init__(self) -> None:
        self._size = 0
        self._slots = np.zeros((2 * WORDS_AT_FIRST, 2), np.uint64)
        self._pool = np.empty(BYTES_A_WORD * WORDS_AT_FIRST, np.uint8)
        self._starts = np.zeros(WORDS_AT_FIRST + 1, np.int64)
        self._counts = np.empty(WORDS_AT_FIRST, np.int64)

    @classmethod
    def of(cls, words: Iterable[bytes]) -> "WordTable":
        """Distinct words by their place."""
        table = cls()
        table.count(b"\n".join(words), GapCounter())
        return table

    @property
    def counts(self) -> np.ndarray:
        """(words,) int64."""
        return self._counts[: self._size]

    def words(self, numbers: np.ndarray) -> list[bytes]:
        """The spellings of some words."""
        pool = self._pool.data
        starts, ends = self._starts[numbers].tolist(), self._starts[numbers + 1].tolist()
        return [bytes(pool[start:end]) for start, end in zip(starts, ends, strict=True)]

    def count(self, raw: bytes, spaces: GapCounter) -> None:
        """Count the words of lines joined by line feeds, and the white space of each line."""
        packs = _padded(raw)
        runs = np.zeros((3, LONGEST_RUN + 1), np.int64)
        first_runs = np.empty_like(runs)
        odd = np.empty((ODD_GAPS, 3), np.int64)
        position, place = 0, BEFORE
        while position <= len(raw):
            self._make_room(len(raw) - position)
            position, place, self._size, num_odd = count_lines(
                packs, len(raw), position, place,
                self._size, self._slots, self._pool, self._starts, self._counts, runs, first_runs, odd,
            )  # fmt: skip
            _add_gaps(spaces, raw, runs, first_runs, odd[:num_odd])
            runs[:] = 0

    def ids(self, raw: bytes, first_id: int, unknown: int, end_of_line: int) -> tuple[np.ndarray, np.ndarray]:
        """The ids of lines joined by line feeds, and the end of each line in them.

        Word i has the id first_id + i; each line is followed by end_of_line.
        """
        packs = _padded(raw)
        ids = np.empty(len(raw) + 1, np.int32)
        line_ends = np.empty(raw.count(b"\n") + 1, np.int64)
        used = look_up_lines(
            packs, len(raw), self._slots, self._pool, self._starts,
            first_id, unknown, end_of_line, ids, line_ends,
        )  # fmt: skip
        return ids[:used].copy(), line_ends

    def _make_room(self, num_bytes: int) -> None:
        """Make room for a batch of words, and for spellings of this many bytes."""
        wanted = self._size + BATCH
        if 2 * wanted > len(self._slots):
            slots = np.zeros((2 * len(self._slots), 2), np.uint64)
            move_slots(self._slots, slots)
            self._slots = slots
        if wanted > len(self._counts):
            more = np.empty(len(self._counts), np.int64)
            self._counts = np.concatenate([self._counts, more])
            self._starts = np.concatenate([self._starts, more])
        if self._starts[self._size] + num_bytes > len(self._pool):
            self._pool = np.concatenate([self._pool, np.empty(max(len(self._pool), num_bytes), np.uint8)])


def _padded(raw: bytes) -> np.ndarray:
    """Text as uint64, followed by line feeds."""
    return np.frombuffer(raw.ljust((len(raw) + PADDING + 7) // 8 * 8, b"\n"), np.uint64)


def _add_gaps(
    spaces: GapCounter, raw: bytes, runs: np.ndarray, first_runs: np.ndarray, odd: np.ndarray
) -> None:
    """Count white space in the order of first occurrence, on which tables may depend."""
    found = [
        (int(first_runs[place, length]), place, " " * length, int(runs[place, length]))
        for place, length in np.argwhere(runs).tolist()
    ]
    found += [(start, place, raw[start:end].decode(), 1) for place, start, end in odd.tolist()]
    for _, place, string, count in sorted(found):
        spaces.add_string(place, string, count)
