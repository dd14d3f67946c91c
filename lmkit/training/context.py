"""What a counting model's `fit` may use of the run that it belongs to."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

T = TypeVar("T")


class Progress(Protocol):
    """Shows how far an iteration is; the command line draws a bar, Python code sees nothing."""

    def __call__(self, items: Iterable[T], *, total: int | None, label: str) -> Iterable[T]: ...


@dataclass(frozen=True)
class FitContext:
    """seed: for anything drawn by chance. progress: wrap a long iteration in it.

    directory: an empty folder on the run's disk, for what is too large for memory, whose files `save` may move
    away; None: everything stays in memory.
    threads: how many processors to use; None: all.
    """

    seed: int
    progress: Progress
    directory: Path | None = None
    threads: int | None = None
