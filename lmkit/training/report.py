"""What training tells whoever watches: the command line draws it, Python code may ignore it."""

from collections.abc import Iterable
from typing import Protocol, TypeVar

from lmkit.contracts import Progress

T = TypeVar("T")


class Reporter(Progress, Protocol):
    """A Progress that can also follow training."""

    def start(self, total_steps: int | None, description: str) -> None: ...

    def step(
        self,
        step: int,
        *,
        tokens: int,
        loss: float,
        grad_norm: float,
        learning_rate: float,
        tokens_per_second: float,
        seconds_left: float | None,
    ) -> None: ...

    def validation(self, step: int, loss: float, best: bool) -> None: ...

    def message(self, text: str) -> None: ...

    def finish(self) -> None: ...


class Silent:
    """A Reporter that says nothing."""

    def __call__(self, items: Iterable[T], *, total: int | None, label: str) -> Iterable[T]:
        return items

    def start(self, total_steps: int | None, description: str) -> None: ...

    def step(self, step: int, **figures: float | None) -> None: ...

    def validation(self, step: int, loss: float, best: bool) -> None: ...

    def message(self, text: str) -> None: ...

    def finish(self) -> None: ...
