"""The logger `tensorboard`: event files in the run, which TensorBoard shows."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmkit.contracts import Logger
from lmkit.extras import needs

EXTRA = "tensorboard"


class TensorBoardLogger(Logger):
    """Writes each figure as a scalar of its name."""

    def __init__(self, folder: Path, name: str, settings: Mapping[str, Any]) -> None:
        super().__init__(folder, name, settings)
        self.check_available()  # without the library, torch's module raises another error
        self._torch = needs("torch.utils.tensorboard", EXTRA)
        self._writer = None

    @classmethod
    def check_available(cls) -> None:
        needs("tensorboard", EXTRA)

    def log(self, step: int, figures: Mapping[str, float | bool]) -> None:
        if self._writer is None:
            # TensorBoard hides what an interrupted training wrote from this step on: it is written again.
            self._writer = self._torch.SummaryWriter(str(self.folder), purge_step=step)
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
