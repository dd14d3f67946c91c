"""A stand-in for CUDA graphs on a CPU: it records torch's operations and repeats them on the same tensors.

As in a CUDA graph, nothing of Python runs when they are repeated: numbers, shapes and branches stay those of the
recording, inputs are read from the memory that was recorded, and results are written to it. An operation that reads a
value on the host is an error while others are recorded, as CUDA makes it one.
"""

from collections.abc import Callable
from typing import Any

import torch
from launches import CREATORS, READS
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map


class Calls(TorchDispatchMode):
    """The operations inside the block."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: list[tuple[bool, Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__ in READS:
            raise RuntimeError(f"{func}: operation not permitted when stream is capturing")
        found = func(*args, **(kwargs or {}))
        if func.overloadpacket.__name__ not in CREATORS:
            tensors = tree_map(_same_memory, [args, kwargs or {}, found])
            # oneDNN's LSTM rounds differently where a gradient is wanted.
            self._calls.append((torch.is_grad_enabled(), func, *tensors))
        return found

    def repeat(self) -> None:
        for with_gradient, func, args, kwargs, found in self._calls:
            with torch.set_grad_enabled(with_gradient):
                again = func(*args, **kwargs)
            # Views, and what is written to an argument, are in the memory of the recording already.
            if any(result.alias_info is not None for result in func._schema.returns):
                continue
            for old, new in zip(tree_leaves(found), tree_leaves(again), strict=True):
                if isinstance(new, Tensor):
                    old.copy_(new)


def _same_memory(value: Any) -> Any:
    """A tensor of its own in the memory of a tensor, which autograd then takes as if nobody else held it."""
    return value.detach() if isinstance(value, Tensor) else value


class CallRecorder:
    """A `Recorder` of `lmkit.training.step_graph`. launches: how often its recordings were repeated."""

    def __init__(self) -> None:
        self.launches = 0

    def warm_up(self, work: Callable[[], Any]) -> Any:
        return work()

    def record(self, work: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
        calls, random = Calls(), torch.get_rng_state()
        with calls:
            found = work()
        # CUDA computes nothing and draws nothing while it records.
        torch.set_rng_state(random)
        with torch.no_grad():
            for tensor in tree_leaves(found):
                tensor.fill_(float("nan") if tensor.is_floating_point() else 0)

        def launch() -> None:
            self.launches += 1
            calls.repeat()

        return found, launch
