"""Copies on the host of the small tensors that it sends to a GPU, which it would otherwise have to read back.

A read of the device (`item`, `tolist`, `nonzero`, `.cpu()`) waits until the device has done everything asked of it, and
then the device waits for the host. A training step needs some values of its window on the host: the steps with a
reset, the clusters of its words, its distinct words. The host knows them, because the window comes from it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

_copies = WeakTensorKeyDictionary()
"""The copy on the host of each tensor on a device, for as long as that tensor exists."""


class Recording:
    """What a step that is recorded has asked of the host. depends: whether it read or sent anything."""

    depends = False


_recording: Recording | None = None


@contextmanager
def recording() -> Iterator[Recording]:
    """Inside the block, a step shows what it will do for other windows of the same shape."""
    global _recording
    before, _recording = _recording, Recording()
    try:
        yield _recording
    finally:
        _recording = before


def values_known() -> bool:
    """Whether a step may do what suits the values of its window; if not, it does what is right for any values."""
    return _recording is None


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host on a device, with its copy kept; nobody may change either in place.

    The host does not wait for the transfer.
    """
    _note()
    if device.type == "cpu":
        return tensor
    # From other memory than pinned memory, CUDA copies only when the device has finished its work.
    sent = (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)
    _copies[sent] = tensor
    return sent


def keep_copy(tensor: Tensor, copy: Tensor) -> Tensor:
    """A tensor made on a device, of which the host now has a copy; nobody may change either in place."""
    if tensor.device.type != "cpu":
        _copies[tensor] = copy
    return tensor


def on_host(tensor: Tensor) -> Tensor:
    """The tensor on the host: itself, the copy that is kept, or without one a read, which waits for the device."""
    _note()
    if tensor.device.type == "cpu":
        return tensor
    copy = _copies.get(tensor)
    return tensor.cpu() if copy is None else copy


def derive(function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """function(*tensors), and its copy on the host where there are copies of all the tensors."""
    found = function(*tensors)
    if found.device.type != "cpu":
        copies = [_copies.get(tensor) for tensor in tensors]
        if all(copy is not None for copy in copies):
            _copies[found] = function(*copies)
    return found


def _note() -> None:
    if _recording is not None:
        _recording.depends = True
