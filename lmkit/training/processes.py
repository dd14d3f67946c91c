"""The processes of one training, which torchrun starts: each computes a slice of the streams, and all take each step.

Process 0 leads: it reads the text first, validates, saves and reports, and its clock counts. The others follow what
it decides. All have the same weights, to the last bit, since all add the same sum of gradients to the same weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from lmkit.devices import pick_device
from lmkit.errors import LmkitError
from lmkit.states import State

if TYPE_CHECKING:
    import torch

    from lmkit.neural.trainable import TrainableModel

T = TypeVar("T")


class LostError(LmkitError):
    """Another process of the training has ended."""


@dataclass(frozen=True)
class Agreed:
    """What all processes know after a step: whether to stop and whether to save now, and the times of the leader."""

    stop: bool = False
    save: bool = False
    seconds: float = 0.0
    cpu_seconds: float = 0.0


class Processes:
    """The only process of a training: it computes all streams and exchanges nothing."""

    rank = 0
    count = 1

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def rows(self, total: int) -> slice:
        """The streams of this process, of `total` in all."""
        return slice(self.rank * total // self.count, (self.rank + 1) * total // self.count)

    def device(self, name: str, parameters: int | None = None) -> torch.device:
        """The device of this process. name: that of the option --device. parameters: of the model, if it is known."""
        return pick_device(name, parameters)

    def lead(self, work: Callable[[], T]) -> T:
        """What `work` returns in the process that leads; in the others it is not called."""
        return work()

    def gather(self, state: State) -> State:
        """The state of all streams, in order, from that of each process; in those that follow, their own."""
        return state

    def sum_step(
        self, model: TrainableModel, loss: torch.Tensor, propose: Callable[[], Agreed]
    ) -> tuple[torch.Tensor, Agreed]:
        """Add up the gradients of all processes, in place, their losses, and what they propose."""
        return loss, Agreed()


ALONE = Processes()
