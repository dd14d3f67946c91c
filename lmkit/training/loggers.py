"""Send the records of metrics.jsonl to the loggers of `--log-to` too."""

import contextlib
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lmkit import run_paths
from lmkit.blame import account
from lmkit.contracts import Logger
from lmkit.options import listed_names
from lmkit.plugins import Part, registry

NONE = "none"
"""The value of `--log-to` for no logger, to take one away from a recipe or a run to resume."""

log = logging.getLogger(__name__)


def find_loggers(log_to: str | tuple[str, ...] | None) -> list[Part]:
    """The loggers that `--log-to` names, each once.

    Raises UsageError for an unknown name or a logger whose library is missing, PluginError for a broken plugin.
    """
    if log_to is None or log_to == NONE:
        return []
    names = log_to if isinstance(log_to, tuple) else listed_names(log_to) or [log_to]
    parts = [registry().find("logger", name) for name in names]
    for part in parts:
        part.load().check_available()
    return list(dict.fromkeys(parts))


class Loggers:
    """The loggers of a run. One that fails is dropped with a warning; the training never notices."""

    def __init__(self, parts: list[Part], directory: Path, settings: Mapping[str, Any]) -> None:
        self._parts = parts
        self._directory = directory
        self._settings = settings
        self._open: dict[Part, Logger] = {}

    def open(self) -> None:
        """Create each logger."""
        for part in self._parts:
            folder = self._directory / run_paths.LOGS / part.display_name.replace(":", "-")
            with self._dropped_if_it_fails(part, "when it was opened"):
                folder.mkdir(parents=True, exist_ok=True)
                self._open[part] = part.load()(folder, self._directory.resolve().name, self._settings)

    def log(self, step: int, figures: Mapping[str, Any]) -> None:
        """Give a record to each logger."""
        record = MappingProxyType(dict(figures))
        for part, logger in list(self._open.items()):
            with self._dropped_if_it_fails(part, f"at step {step}"):
                logger.log(step, record)

    def close(self) -> None:
        """Close each logger; none of them gets records afterwards."""
        for part, logger in list(self._open.items()):
            with self._dropped_if_it_fails(part, "when it was closed"):
                logger.close()
        self._open.clear()

    @contextlib.contextmanager
    def _dropped_if_it_fails(self, part: Part, when: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._open.pop(part, None)
            log.warning(
                "%s failed %s and gets no more records: %s; the training is not affected, and metrics.jsonl has "
                "every record",
                part.describe(),
                when,
                account(error),
            )
