"""The windows of training: where each step reads in parallel streams, epoch by epoch."""

from bisect import bisect_right
from dataclasses import dataclass

import numpy as np

HALF_SHARE = 0.05
"""The share of windows of about half the length, if lengths vary."""
DEVIATION = 5.0
"""The standard deviation of the lengths."""
LEAST = 5
"""The shortest window, except for the last one of an epoch."""


@dataclass(frozen=True)
class Place:
    """Where the window of a step lies: its epoch (from 0), and its tokens first .. last - 1 of each stream."""

    epoch: int
    first: int
    last: int


class Windows:
    """Streams of `length` tokens cut into windows, so that an epoch reads each token once.

    seed: None for windows of `bptt` tokens. Otherwise their lengths vary as in Merity et al. (2018), arXiv:1708.02182:
    drawn from N(bptt, 5), or in 5 % of the cases from N(bptt / 2, 5), rounded down, and at least 5. The lengths of an
    epoch depend on nothing but the seed and the epoch, so that a number of a step gives its window.
    """

    def __init__(self, length: int, bptt: int, seed: int | None = None) -> None:
        self.length = length
        self.bptt = bptt
        self.seed = seed
        self._first_steps = [0]
        """The first step of each epoch so far."""
        self._newest: tuple[int, np.ndarray] = (-1, np.empty(0, np.int64))
        """The ends of the windows of one epoch, and the epoch."""

    def first_step(self, epoch: int) -> int:
        """The step at which an epoch begins."""
        while len(self._first_steps) <= epoch:
            self._first_steps.append(self._first_steps[-1] + len(self._ends(len(self._first_steps) - 1)))
        return self._first_steps[epoch]

    def place(self, step: int) -> Place:
        """The place of the window of a step, counted from the beginning of the training."""
        while self._first_steps[-1] <= step:
            self.first_step(len(self._first_steps))
        epoch = bisect_right(self._first_steps, step) - 1
        ends, index = self._ends(epoch), step - self._first_steps[epoch]
        return Place(epoch, int(ends[index - 1]) if index else 0, int(ends[index]))

    def epochs(self, steps: int) -> float:
        """The passes over the text in this many steps."""
        epoch = self.place(steps).epoch
        first = self.first_step(epoch)
        return epoch + (steps - first) / (self.first_step(epoch + 1) - first)

    def _ends(self, epoch: int) -> np.ndarray:
        """(windows,) the ends of the windows of an epoch, in tokens of a stream."""
        if self._newest[0] != epoch:
            ends = (
                np.arange(self.bptt, self.length + self.bptt, self.bptt)
                if self.seed is None
                else self._drawn(np.random.default_rng((self.seed, epoch)))
            )
            # The last window of an epoch takes what is left.
            self._newest = epoch, np.minimum(ends[: np.searchsorted(ends, self.length) + 1], self.length)
        return self._newest[1]

    def _drawn(self, random: np.random.Generator) -> np.ndarray:
        """Ends of at least `length` tokens of windows that vary."""
        parts, end = [], 0
        while end < self.length:
            size = 2 * (self.length - end) // self.bptt + 1
            means = np.where(random.random(size) < HALF_SHARE, self.bptt / 2, self.bptt)
            lengths = np.maximum(random.normal(means, DEVIATION).astype(np.int64), LEAST)
            parts.append(end + np.cumsum(lengths))
            end = int(parts[-1][-1])
        return np.concatenate(parts)
