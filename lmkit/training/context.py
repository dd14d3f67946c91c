"""What a counting model's `fit` may use of the run that it belongs to."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

T = TypeVar("T")


class Progress(Protocol):
    """Shows how far an iteration is; the command line draws a bar, Python code sees nothing."""

    def __call__(self, items: Iterable[T], *, total: int | None, label: str) -> Iterable[T]: ...


@dataclass(frozen=True)
class FitContext:
    """seed: for anything drawn by chance. progress: wrap a long iteration in it."""

    seed: int
    progress: Progress
