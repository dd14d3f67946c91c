"""Wrong loggers; each docstring ends with the name of the rule that the logger breaks."""

import json

import torch

from lmkit.contracts import Logger


class Lines(Logger):
    """Appends each record to a file: right, for the wrong ones to inherit from."""

    def log(self, step, figures):
        with (self.folder / "records.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **figures}) + "\n")


class ChangesTheFigures(Lines):
    """Adds the step to the figures that it was lent (check_records)."""

    def log(self, step, figures):
        figures["step"] = step


class OnlyOnce(Lines):
    """Creates its file, which a resumed training has already (check_records)."""

    def __init__(self, folder, name, settings):
        super().__init__(folder, name, settings)
        if (folder / "records.jsonl").exists():
            raise FileExistsError("records.jsonl is there already")
        self.log(0, {})


class DrawsItsName(Lines):
    """Names its run by torch's random numbers (check_random_state)."""

    def __init__(self, folder, name, settings):
        super().__init__(folder, f"{name}-{int(torch.randint(1000, ()))}", settings)
