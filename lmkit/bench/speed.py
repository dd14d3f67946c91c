"""Time and memory of a cell's window, forward and backward, by each of its tiers."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from weakref import finalize

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from lmkit.recurrence import Cell

ROWS, STEPS = 16, 64
"""The size of the window."""
ROUNDS = 7
WARM_UP = 2


@dataclass(frozen=True)
class Speed:
    """By one tier, per token: microseconds forward, forward and backward, and bytes that both hold at most."""

    tier: str
    forward: float
    training: float
    memory: float


def speeds(cells: Mapping[str, Cell], *, device: str = "cpu") -> dict[str, list[Speed]]:
    """The speeds of each cell by each of its tiers, measured in turn, so that a noisy machine slows all alike.

    Seconds are those of the processor with one thread of a CPU, else of the clock; medians over ROUNDS.
    """
    sides = [(name, tier) for name, cell in cells.items() for tier in cell.tiers()]
    runs = {side: _Window(cells[side[0]], side[1], device) for side in sides}
    seconds: dict[tuple[str, str], list[tuple[float, float]]] = {side: [] for side in sides}
    clock = time.process_time if device == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    for round_ in range(WARM_UP + ROUNDS):
        for side, run in runs.items():
            took = _seconds(run.forward, clock), _seconds(run.both, clock)
            if round_ >= WARM_UP:
                seconds[side].append(took)
    found: dict[str, list[Speed]] = {name: [] for name in cells}
    for (name, tier), taken in seconds.items():
        forward, both = (1e6 * statistics.median(one) / (ROWS * STEPS) for one in zip(*taken, strict=True))
        memory = peak_memory(runs[name, tier].both) / (ROWS * STEPS)
        found[name].append(Speed(tier, forward, both, memory))
    return found


class _Window:
    """A window of random inputs through a cell by one tier."""

    def __init__(self, cell: Cell, tier: str, device: str) -> None:
        self.cell, self.tier = cell.to(device), tier
        self.inputs = torch.randn(STEPS, ROWS, cell.input_size, device=device, requires_grad=True)
        self.weights = torch.randn(STEPS, ROWS, cell.output_size, device=device)

    @torch.no_grad()
    def forward(self) -> None:
        self._outputs()

    def both(self) -> None:
        (self._outputs() * self.weights).sum().backward()
        self.cell.zero_grad()
        self.inputs.grad = None

    def _outputs(self) -> Tensor:
        self.cell.use_tier(self.tier)
        return self.cell.run(self.inputs, self.cell.initial_state(ROWS))[0]


def _seconds(run: Callable[[], None], clock: Callable[[], float]) -> float:
    begun = clock()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return clock() - begun


def peak_memory(run: Callable[[], None]) -> int:
    """The most bytes of tensors that a call makes and still holds at one time."""
    with _Held() as held:
        run()
    return held.most


class _Held(TorchDispatchMode):
    """Counts the bytes of all memory that operations return and that something still holds."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        returned = func(*args, **(kwargs or {}))
        for one in _tensors(returned):
            self._add(one.untyped_storage())
        return returned

    def _add(self, storage: torch.UntypedStorage) -> None:
        place, size = storage._cdata, storage.nbytes()
        if place in self.known:
            return
        self.known.add(place)
        self.now += size
        self.most = max(self.most, self.now)
        finalize(storage, self._free, place, size)

    def _free(self, place: int, size: int) -> None:
        self.known.discard(place)
        self.now -= size


def _tensors(returned: Any) -> list[Tensor]:
    if isinstance(returned, Tensor):
        return [returned]
    return [one for item in returned for one in _tensors(item)] if isinstance(returned, (tuple, list)) else []
