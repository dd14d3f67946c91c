"""The logger `trackio`: a run of trackio, on this machine or in a Space of Hugging Face."""

import contextlib
import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmkit.contracts import Logger
from lmkit.extras import needs

EXTRA = "trackio"
PROJECT = "lmkit"
"""The project, unless TRACKIO_PROJECT names another."""


class TrackioLogger(Logger):
    """Logs each record under its step. A resumed training continues the same run of trackio.

    trackio finds a run to continue by its name, so the name has random letters; the run's folder keeps it.
    """

    def __init__(self, folder: Path, name: str, settings: Mapping[str, Any]) -> None:
        super().__init__(folder, name, settings)
        self._trackio = needs("trackio", EXTRA)
        earlier = folder / "name.txt"
        if not earlier.exists():
            earlier.write_text(f"{name}-{secrets.token_hex(4)}", encoding="utf-8")
        with contextlib.redirect_stdout(sys.stderr):
            self._run = self._trackio.init(
                project=os.environ.get("TRACKIO_PROJECT", PROJECT),
                name=earlier.read_text(encoding="utf-8"),
                config=dict(settings),
                resume="allow",
                embed=False,
            )

    @classmethod
    def check_available(cls) -> None:
        needs("trackio", EXTRA)

    def log(self, step: int, figures: Mapping[str, float | bool]) -> None:
        self._run.log(dict(figures), step=step)

    def close(self) -> None:
        with contextlib.redirect_stdout(sys.stderr):
            self._trackio.finish()
