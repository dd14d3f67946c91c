"""Keep the states of models after texts, so that a longer text costs its new tokens only."""

from collections import Counter, OrderedDict
from collections.abc import Sequence

import numpy as np

from lmkit import states
from lmkit.contracts import State

MOST = 256
MOST_BYTES = 1 << 26
"""Bytes of all states; a larger one is not kept."""


class Slots:
    """The states of one model after some prefixes, the least recently used ones forgotten first.

    A state is of one row. most, most_bytes: limits.
    """

    def __init__(self, most: int = MOST, most_bytes: int = MOST_BYTES) -> None:
        self._most, self._most_bytes = most, most_bytes
        self._states: OrderedDict[bytes, tuple[State, int]] = OrderedDict()
        self._lengths: Counter[int] = Counter()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._states)

    @property
    def num_bytes(self) -> int:
        """Bytes of the kept states."""
        return self._bytes

    def find(self, ids: Sequence[int]) -> tuple[int, State | None]:
        """The length of the longest kept prefix of ids, and the state after it; (0, None) if there is none."""
        key = np.array(ids, np.int32).tobytes()
        for length in sorted(self._lengths, reverse=True):
            prefix = key[: 4 * length]
            if length <= len(ids) and prefix in self._states:
                self._states.move_to_end(prefix)
                return length, self._states[prefix][0]
        return 0, None

    def keep(self, ids: Sequence[int], state: State) -> None:
        """Keep the state after ids."""
        key = np.array(ids, np.int32).tobytes()
        if not ids or key in self._states:
            return
        size = len(key) + sum(leaf.numel() * leaf.element_size() for leaf in states.leaves(state))
        if size > self._most_bytes:
            return
        # A row of a batch would hold the memory of the whole batch.
        self._states[key] = states.apply(lambda leaf: leaf.clone(), state), size
        self._lengths[len(ids)] += 1
        self._bytes += size
        while len(self._states) > self._most or self._bytes > self._most_bytes:
            old, (_, size) = self._states.popitem(last=False)
            self._bytes -= size
            self._lengths[len(old) // 4] -= 1
            if not self._lengths[len(old) // 4]:
                del self._lengths[len(old) // 4]
