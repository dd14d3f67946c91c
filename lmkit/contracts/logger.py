"""The contract of a logger, which receives the figures of a training."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Logger(ABC):
    """Sends the records of metrics.jsonl to another place.

    folder: exists, inside the run, for this logger's files alone. A training that is resumed finds there what was
    written before. No symbolic links: lmkit refuses runs that contain one.
    name: that of the run's directory. settings: the tables of the run's recipe.

    It is created just before the first step, in the leading process only. When it raises an error, lmkit warns once
    and calls it no more; the training goes on. It must not draw from torch's random state.
    """

    def __init__(self, folder: Path, name: str, settings: Mapping[str, Any]) -> None:
        self.folder = folder
        self.name = name
        self.settings = settings

    @classmethod  # noqa: B027
    def check_available(cls) -> None:
        """Raise UsageError if it cannot work here, such as without its library; called before the training."""

    @abstractmethod
    def log(self, step: int, figures: Mapping[str, float | bool]) -> None:
        """Take the record of a step, such as `{"loss": 5.1, ...}` or `{"valid_loss": 5.3, "best": True, ...}`.

        Steps rise, and a step with a validation may have two records. A resumed training goes back to its checkpoint
        and sends the records after it again.
        """

    def close(self) -> None:  # noqa: B027
        """Finish: the training has ended or is interrupted."""
