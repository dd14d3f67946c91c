"""The rules for loggers, tested on records like those of a training that is resumed."""

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Self

import torch

from lmkit.plugins import Part
from lmkit.testing.rules import RuleBook, making

NAME = "lmkit-check"
"""The name of the run that the records are of."""
SETTINGS = {"model": {"name": "lmkit:recurrent", "hidden_size": 8}, "train": {"max_steps": 4}}


@dataclass(frozen=True)
class Records:
    """The steps of the records; `|`: there, the training is interrupted, and resumed in the same folder."""

    parts: tuple[tuple[int, ...], ...] = ((1, 2, 2, 3), (3, 4, 4))

    def __str__(self) -> str:
        return f"records of the steps {' | '.join(', '.join(map(str, steps)) for steps in self.parts)}"

    def smaller(self) -> Iterator[Self]:
        """One part, then one record."""
        if len(self.parts) > 1:
            yield from (replace(self, parts=(steps,)) for steps in self.parts)
        elif sum(map(len, self.parts)) > 1:
            yield replace(self, parts=tuple(steps[:1] for steps in self.parts))


def resumed(part: Part) -> list[Records]:
    return [Records()]


RULES = RuleBook(resumed)


def figures(step: int, *, validation: bool) -> Mapping[str, float | bool]:
    """The figures of a step, or of its validation."""
    loss = 5 / step
    return MappingProxyType(
        {"valid_loss": loss, "valid_perplexity": 2.0**loss, "best": True, "seconds": step * 1.5}
        if validation
        else {"epoch": step / 3, "loss": loss, "grad_norm": 0.5, "learning_rate": 1e-3, "seconds": step * 1.5}
    )


def send(part: Part, records: Records) -> None:
    """Give the records to the part, a new logger in the same folder after each interruption."""
    with tempfile.TemporaryDirectory(prefix="lmkit-logger-") as place:
        folder = Path(place, NAME)
        folder.mkdir()
        for steps in records.parts:
            with making():
                part.load().check_available()
            logger = part.load()(folder, NAME, SETTINGS)
            for before, step in zip((0, *steps), steps, strict=False):
                logger.log(step, figures(step, validation=step == before))
            logger.close()
        links = [path.name for path in folder.rglob("*") if path.is_symlink()]
        assert not links, f"it leaves the symbolic link {links[0]}, with which a run cannot be resumed"


@RULES(
    "take any figures, two records of one step, and a step again after the logger is created again; copy the figures "
    "before you change them; write no symbolic links into the folder",
    about=("log", "__init__", "close"),
)
def check_records(part: Part, records: Records) -> None:
    """It takes the records of a training that is interrupted and resumed, and leaves no links in its folder."""
    send(part, records)


@RULES(
    "take random numbers from a generator of your own, such as random.Random() or torch.Generator()",
    about=("log", "__init__"),
)
def check_random_state(part: Part, records: Records) -> None:
    """Torch's random state stays as it was, so that a training has the same result with and without the logger."""
    before = torch.get_rng_state()
    send(part, records)
    assert torch.equal(torch.get_rng_state(), before), "torch's random state is another one afterwards"
