"""Bring the windows of a text to the device of a training, so that no step waits for its own.

A text that fits into a share of a card's free memory is copied there once, and each window is cut from it. From
another text the next window is copied, on a stream of its own, while the present one is computed. The host makes every
window too, since a step may need some of its values there (`host_copies`).
"""

from collections.abc import Callable

import numpy as np
import torch

from lmkit.corpus.streams import Streams, Window
from lmkit.host_copies import keep_copy

SHARE = 0.1
"""The share of a card's free memory that a text may take, in which the training has its own memory already."""
BYTES_A_TOKEN = 5
"""On the card: an id of four bytes, and whether the state is reset before the token."""
TOKENS_AT_ONCE = 2**24
"""Tokens that are copied to the card at once, which bounds the memory of the host."""

Feed = Callable[[int], Window]
"""The number of a step to its window on the device."""


def feed_for(streams: Streams, device: torch.device) -> Feed:
    """The way of a text to a device that suits both."""
    if device.type != "cuda":
        return lambda step: streams.window(step).to(device)
    free, _ = torch.cuda.mem_get_info(device)
    if streams.is_plain and streams.num_tokens * BYTES_A_TOKEN <= SHARE * free:
        return OnDevice(streams, device)
    return Ahead(streams, device)


class OnDevice:
    """Cuts windows from a text on the device, whose windows are ids and resets and nothing else."""

    def __init__(self, streams: Streams, device: torch.device) -> None:
        self._streams = streams
        count = streams.num_tokens
        self._tokens = torch.empty(count, dtype=torch.int32, device=device)
        self._is_reset = torch.empty(count, dtype=torch.bool, device=device)
        for first in range(0, count, TOKENS_AT_ONCE):
            places = np.arange(first, min(first + TOKENS_AT_ONCE, count))
            ids, is_reset = streams.at(places)
            self._tokens[first : places[-1] + 1] = torch.from_numpy(ids.astype(np.int32)).to(device)
            self._is_reset[first : places[-1] + 1] = torch.from_numpy(is_reset).to(device)
        self._starts = torch.from_numpy(streams.starts).to(device)[:, None]

    def __call__(self, step: int) -> Window:
        on_host, place = self._streams.window(step), self._streams.windows.place(step)
        rows = self._starts + torch.arange(place.first, place.last, device=self._tokens.device)
        is_reset = self._is_reset[rows]
        before = self._tokens[(rows - 1).clamp_min_(0)].long()
        inputs = keep_copy(before.masked_fill_(is_reset, self._streams.start_id), on_host.inputs)
        targets = keep_copy(self._tokens[rows].long(), on_host.targets)
        return Window(inputs, targets, None if on_host.reset is None else keep_copy(is_reset, on_host.reset))


class Ahead:
    """Copies the window of the next step while a step is computed."""

    def __init__(self, streams: Streams, device: torch.device) -> None:
        self._streams = streams
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._next: tuple[int, Window] | None = None

    def __call__(self, step: int) -> Window:
        ready, window = self._next or (None, None)
        if window is None or ready != step:
            window = self._sent(step)
        current = torch.cuda.current_stream(self._device)
        # The copy of this window is the last thing that was asked of the other stream.
        current.wait_stream(self._stream)
        for tensor in window.tensors():
            # Its memory belongs to the other stream, which must not use it again before this one is done with it.
            tensor.record_stream(current)
        self._next = step + 1, self._sent(step + 1)
        return window

    def _sent(self, step: int) -> Window:
        with torch.cuda.stream(self._stream):
            return self._streams.window(step).to(self._device)
