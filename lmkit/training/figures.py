"""The loss and the norm of the gradient of each step, which stay on a GPU until they are reported.

To read them at every step would make the host wait for each step, and the GPU for the host. A step with a loss or a
norm that is not finite is skipped on the GPU, and the host learns of it when it reads the next figures.
"""

import time
from typing import NamedTuple

import torch
from torch import Tensor

SECONDS = 1.0
"""Seconds after which figures are read, however few steps they took."""


class StepFigures(NamedTuple):
    """loss: of a step, without penalties. norm: of its gradient, before clipping."""

    step: int
    loss: float
    norm: float


class Figures:
    """The figures of the newest step, and those of the first bad one, on the device of the model."""

    def __init__(self, device: torch.device) -> None:
        self.read_at_once = device.type == "cpu"
        """Whether each step is read when it is taken: then a bad one stops the training before it changes weights."""
        self._newest: StepFigures | Tensor | None = None
        """None if they are read already; (3,) step, loss and norm if they are on the device."""
        self._bad = torch.zeros(3, dtype=torch.float64, device=device)
        """The same of the first bad step; of none, step 0."""
        self._read_at = time.monotonic()

    def take(self, step: int, loss: Tensor, norm: Tensor) -> Tensor | None:
        """Take the figures of a step, counted from 1.

        Return None if they are read at once; else 1.0 if the optimiser must skip the step, 0.0 if not, on the device.
        """
        if self.read_at_once:
            self._newest = StepFigures(step, float(loss), float(norm))
            return None
        number = torch.full_like(self._bad[0], step)
        self._newest = torch.stack([number, loss.to(self._bad), norm.to(self._bad)])
        is_bad = ~self._newest.isfinite().all()
        self._bad = torch.where(is_bad & (self._bad[0] == 0), self._newest, self._bad)
        return is_bad.float()

    def due(self) -> bool:
        """Whether it is time to read figures, whatever the step."""
        return self.read_at_once or time.monotonic() - self._read_at >= SECONDS

    def read(self) -> StepFigures | None:
        """The figures of the first bad step, or else of the newest; None without a step since the last read."""
        found, self._newest, self._read_at = self._newest, None, time.monotonic()
        if not isinstance(found, Tensor):
            return found
        newest, bad = torch.stack([found, self._bad]).tolist()
        step, loss, norm = bad if bad[0] else newest
        return StepFigures(int(step), loss, norm)
