"""metrics.jsonl: one line a report, from which plots are drawn."""

from pathlib import Path

from lmkit import strict_json


class Metrics:
    """Appends records to a file; every line is complete when it is written."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def size(self) -> int:
        """Bytes written so far: what a checkpoint remembers."""
        return self.path.stat().st_size if self.path.exists() else 0

    def cut(self, size: int) -> None:
        """Forget what was written after `size` bytes: a resumed run writes it again."""
        if self.size > size:
            with self.path.open("rb+") as file:
                file.truncate(size)

    def write(self, **record: object) -> None:
        """Append one record."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(strict_json.report(record) + "\n")
