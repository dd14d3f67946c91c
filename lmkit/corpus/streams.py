"""Divide a corpus into parallel streams, to train a recurrent model window by window."""

import logging
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from lmkit.corpus.resets import reset_positions
from lmkit.corpus.store import TokenStore
from lmkit.corpus.windows import Windows
from lmkit.errors import DataError
from lmkit.host_copies import derive, on_host, send
from lmkit.notes import NOTE

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Window:
    """One training step's text, batch first.

    inputs: (batch, time) the token before each target, or `start_id` after a reset.
    targets: (batch, time). reset: (batch, time) bool, or None without a reset inside.
    """

    inputs: Tensor
    targets: Tensor
    reset: Tensor | None
    weights: Tensor | None = None
    """(batch, time) how much each target counts in the loss; None: all the same."""
    backward: "Window | None" = None
    """The same lines, each from its end; the resets are at the same places."""

    def to(self, device: torch.device) -> "Window":
        """The same window on a device, of which the host keeps a copy."""
        reset, weights = (None if t is None else send(t, device) for t in (self.reset, self.weights))
        backward = None if self.backward is None else self.backward.to(device)
        return Window(send(self.inputs, device), send(self.targets, device), reset, weights, backward)

    def tensors(self) -> list[Tensor]:
        """All its tensors, those of the window read backward last."""
        given = [t for t in (self.inputs, self.targets, self.reset, self.weights) if t is not None]
        return given if self.backward is None else given + self.backward.tensors()

    def rows(self, rows: slice) -> "Window":
        """The window of some of the streams."""
        inputs, targets, reset, weights = (
            None if t is None else derive(lambda t: t[rows], t)
            for t in (self.inputs, self.targets, self.reset, self.weights)
        )
        assert inputs is not None
        assert targets is not None
        if reset is not None and not bool(on_host(reset).any()):
            reset = None
        backward = None if self.backward is None else self.backward.rows(rows)
        return Window(inputs, targets, reset, weights, backward)

    @property
    def total_weight(self) -> float:
        """The sum of the weights of its targets in the loss, both ways if it is read both ways."""
        weights = None if self.weights is None else on_host(self.weights).sum(dtype=torch.float64)
        own = self.targets.numel() if weights is None else float(weights)
        return own if self.backward is None else own + self.backward.total_weight


class Streams:
    """`batch_size` equal, contiguous parts of the corpus, read side by side.

    The state of a model is carried from window to window; `reset_policy` ("line", "document", "never") gives the
    boundaries after which it is reset. Fewer than `batch_size` tokens at the corpus's end are omitted.
    both_ways: windows also have the lines read backward; the policy must be "line".
    """

    def __init__(
        self,
        store: TokenStore,
        batch_size: int,
        bptt: int,
        reset_policy: str,
        start_id: int,
        *,
        both_ways: bool = False,
    ) -> None:
        assert reset_policy == "line" or not both_ways
        total = store.num_tokens
        if total < 2:
            raise DataError(
                f"the training text has {total} tokens, but training needs at least 2; give a longer text"
            )
        bptt = min(bptt, total)
        fitting = max(1, min(batch_size, total // bptt))
        if fitting < batch_size:
            log.log(
                NOTE,
                "the text has %s tokens, too few for %d parallel streams with a window of %d each: it is read in %d",
                f"{total:,}", batch_size, bptt, fitting,
            )  # fmt: skip
        self.batch_size = fitting
        self.bptt = bptt
        self.start_id = start_id
        self._tokens = store.tokens
        self._weights = store.weights
        self.windows = Windows(total // fitting, bptt)
        self.starts = np.arange(fitting) * self.windows.length
        """(batch_size,) where each part begins."""
        self._resets = reset_positions(store, reset_policy)
        self._line_ends = store.line_ends if both_ways else None

    def vary(self, seed: int) -> None:
        """Let the lengths of windows vary; see `Windows`."""
        self.windows = Windows(self.windows.length, self.bptt, seed)

    @property
    def is_weighted(self) -> bool:
        """Whether some tokens count more than others in the loss."""
        return self._weights is not None

    @property
    def num_tokens(self) -> int:
        """The tokens of the corpus."""
        return len(self._tokens)

    @property
    def is_plain(self) -> bool:
        """Whether windows are inputs, targets and resets and nothing else."""
        return self._weights is None and self._line_ends is None

    def at(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The ids at places of the corpus, and whether the state is reset before each."""
        return self._tokens[places], self._is_reset(places)

    @property
    def steps_per_epoch(self) -> int:
        """The steps of the first epoch; if the windows vary, another may have more or fewer."""
        return self.windows.first_step(1)

    def window(self, step: int) -> Window:
        """The window of a step, counted from the beginning of the training; the last of an epoch may be shorter."""
        place = self.windows.place(step)
        rows = self.starts[:, None] + np.arange(place.first, place.last)
        reset = torch.from_numpy(self._is_reset(rows))
        before = np.maximum(rows - 1, 0)
        if self._line_ends is None:
            return self._window(before, rows, reset)
        backward = self._window(mirrored(before, self._line_ends), mirrored(rows, self._line_ends), reset)
        return replace(self._window(before, rows, reset), backward=backward)

    def _window(self, before: np.ndarray, rows: np.ndarray, reset: Tensor) -> Window:
        """The window with the inputs and targets at these places of the corpus."""
        inputs = torch.from_numpy(self._tokens[before].astype(np.int64))
        targets = torch.from_numpy(self._tokens[rows].astype(np.int64))
        inputs.masked_fill_(reset, self.start_id)
        weights = None if self._weights is None else torch.from_numpy(self._weights[rows])
        return Window(inputs, targets, reset if bool(reset.any()) else None, weights)

    def _is_reset(self, rows: np.ndarray) -> np.ndarray:
        nearest = np.searchsorted(self._resets, rows)
        return self._resets[np.minimum(nearest, len(self._resets) - 1)] == rows


def mirrored(rows: np.ndarray, line_ends: np.ndarray) -> np.ndarray:
    """For each place in the corpus, the place that takes it when lines are read backward, their `</s>` still last.

    line_ends: (lines,) the end of each line, one past its `</s>`.
    """
    line = np.searchsorted(line_ends, rows, side="right")
    first = np.where(line > 0, line_ends[line - 1], 0)
    eos = line_ends[line] - 1
    return np.where(rows == eos, rows, first + eos - 1 - rows)
