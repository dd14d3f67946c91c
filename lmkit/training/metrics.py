"""metrics.jsonl: one line a report, from which plots are drawn."""

import json
from pathlib import Path


class Metrics:
    """Appends records to a file; every line is complete when it is written."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, **record: object) -> None:
        """Append one record."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
