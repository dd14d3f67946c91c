"""The interface for progress reports of training, which the command line displays."""

from collections.abc import Iterable
from typing import Protocol, TypeVar

from lmkit.contracts import Progress
from lmkit.notebook import NotebookReporter, in_notebook

T = TypeVar("T")


class Reporter(Progress, Protocol):
    """A Progress that also receives reports of training."""

    def start(self, total_steps: int | None, description: str) -> None: ...

    def step(
        self,
        step: int,
        *,
        tokens: int,
        loss: float,
        loss_name: str,
        grad_norm: float,
        learning_rate: float,
        tokens_per_second: float,
        seconds_left: float | None,
    ) -> None: ...

    def validation(self, step: int, loss: float, best: bool, bits_per_byte: float | None = None) -> None: ...

    def message(self, text: str) -> None: ...

    def finish(self) -> None: ...


class Silent:
    """A Reporter without output."""

    def __call__(self, items: Iterable[T], *, total: int | None, label: str) -> Iterable[T]:
        return items

    def start(self, total_steps: int | None, description: str) -> None: ...

    def step(self, step: int, **figures: float | str | None) -> None: ...

    def validation(self, step: int, loss: float, best: bool, bits_per_byte: float | None = None) -> None: ...

    def message(self, text: str) -> None: ...

    def finish(self) -> None: ...


def usual_reporter() -> Reporter:
    """The reporter of Python code: bars and messages in notebooks, nothing elsewhere."""
    return NotebookReporter() if in_notebook() else Silent()
