"""Averages of the weights, which are validated and saved instead of the newest ones."""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from torch import nn


class WeightAverage(ABC):
    """An average of the weights after each step, beginning with the present ones."""

    def __init__(self, model: nn.Module) -> None:
        self._parameters = dict(model.named_parameters())
        self.weights = {name: p.detach().clone() for name, p in self._parameters.items()}
        """The average, by the names of the parameters."""

    @abstractmethod
    def share(self, step: int) -> float:
        """The share of the newest weights in the average after step `step` (from 0)."""

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Update the average with the weights after step `step` (from 0)."""
        share = self.share(step)
        for name, parameter in self._parameters.items():
            self.weights[name].lerp_(parameter, share)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside the block the model has the averaged weights; afterwards its own again."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, parameter in self._parameters.items():
            own = parameter.detach().clone()
            parameter.copy_(self.weights[name])
            self.weights[name].copy_(own)


class MovingAverage(WeightAverage):
    """a <- d a + (1 - d) w after each step, with d rising to `decay` as min(decay, (1 + step) / (10 + step))."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__(model)
        self.decay = decay

    def share(self, step: int) -> float:
        return 1 - min(self.decay, (1 + step) / (10 + step))


class MeanOfSteps(WeightAverage):
    """The plain mean of the weights after all steps from step `first` on (Polyak and Juditsky, 1992)."""

    def __init__(self, model: nn.Module, first: int) -> None:
        super().__init__(model)
        self.first = first

    def share(self, step: int) -> float:
        return 1 / (step - self.first + 1)
