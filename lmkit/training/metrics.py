"""metrics.jsonl: one line per report, for plots; the same records go to loggers."""

from pathlib import Path

from lmkit import strict_json
from lmkit.training.loggers import Loggers


class Metrics:
    """Appends records to a file, then gives them to `loggers`; every line is written at once.

    Without a path and loggers, it does nothing.
    """

    def __init__(self, path: Path | None, loggers: Loggers | None = None) -> None:
        self.path = path
        self.loggers = loggers

    @property
    def size(self) -> int:
        """Bytes written so far, which a checkpoint stores."""
        return self.path.stat().st_size if self.path and self.path.exists() else 0

    def cut(self, size: int) -> None:
        """Truncate the file to `size` bytes: a resumed run writes the rest again."""
        if self.path and self.size > size:
            with self.path.open("rb+") as file:
                file.truncate(size)

    def write(self, **record: object) -> None:
        """Append one record."""
        if self.path:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(strict_json.report(record) + "\n")
        if self.loggers:
            step = record.pop("step")
            assert isinstance(step, int)
            self.loggers.log(step, record)

    def open(self) -> None:
        """Open the loggers."""
        if self.loggers:
            self.loggers.open()

    def close(self) -> None:
        """Close the loggers."""
        if self.loggers:
            self.loggers.close()
