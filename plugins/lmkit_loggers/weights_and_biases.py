"""The logger `wandb`: a run of Weights & Biases."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmkit.contracts import Logger
from lmkit.extras import needs

EXTRA = "wandb"
PROJECT = "lmkit"
"""The project, unless WANDB_PROJECT names another."""


class WandbLogger(Logger):
    """Logs each record under its step. A resumed training continues the same run of Weights & Biases.

    wandb writes where it always does (`./wandb`, or WANDB_DIR), since its folders contain symbolic links; the run's
    own folder has only the id.
    """

    def __init__(self, folder: Path, name: str, settings: Mapping[str, Any]) -> None:
        super().__init__(folder, name, settings)
        wandb = needs("wandb", EXTRA)
        earlier = folder / "id.txt"
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=name,
            id=earlier.read_text(encoding="utf-8") if earlier.exists() else None,
            resume="allow",
            config=dict(settings),
            settings=wandb.Settings(console="off"),
        )
        earlier.write_text(self._run.id, encoding="utf-8")

    @classmethod
    def check_available(cls) -> None:
        needs("wandb", EXTRA)

    def log(self, step: int, figures: Mapping[str, float | bool]) -> None:
        self._run.log(dict(figures), step=step)

    def close(self) -> None:
        self._run.finish()
