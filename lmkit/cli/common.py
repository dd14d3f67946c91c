"""Arguments and options that several commands share."""

import itertools
from collections.abc import Callable, Container, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lmkit.errors import UsageError

if TYPE_CHECKING:
    from lmkit.api import Model

CommandT = TypeVar("CommandT", bound=Callable[..., Any])

run_argument = click.argument("run", type=click.Path(path_type=Path))
"""RUN, a run's directory."""

runs_argument = click.argument(
    "runs", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
"""RUN RUN ..., the directories of several runs."""

device_option = click.option(
    "--device", metavar="TEXT", default="auto", show_default=True, help="cpu, cuda, cuda:1, mps ..."
)

nonfinite_option = click.option(
    "--allow-nonfinite", is_flag=True, help="Load a model although NaN or infinite weights are in it."
)


int8_option = click.option(
    "--int8", is_flag=True, help="Weights in int8: faster on a CPU, a little less exact (docs/models.md)."
)


def loads_model(command: CommandT) -> CommandT:
    """RUN, --device and --allow-nonfinite, which `lmkit.api.load` takes."""
    return run_argument(device_option(nonfinite_option(command)))


def loads_models(command: CommandT) -> CommandT:
    """RUN..., --device and --allow-nonfinite, which `load_all` takes."""
    return runs_argument(device_option(nonfinite_option(command)))


def load_all(runs: Iterable[Path], device: str, allow_nonfinite: bool) -> dict[str, "Model"]:
    """The models of several runs by their labels (see `labels`)."""
    from lmkit import api

    return {
        label: api.load(run, device=device, allow_nonfinite=allow_nonfinite)
        for label, run in labels(runs).items()
    }


def labels(runs: Iterable[Path]) -> dict[str, Path]:
    """What each run is called in tables and pictures: the end of its path, as long as it takes to tell them apart.

    Raises UsageError where the same run is given twice.
    """
    paths = list(runs)
    parts = [path.resolve().parts for path in paths]
    for place, path in enumerate(paths):
        if parts[place] in parts[:place]:
            raise UsageError(f"{path} is given twice; give each run once")
    found: dict[str, Path] = {}
    for own, path in zip(parts, paths, strict=True):
        length = 1
        while sum(other[-length:] == own[-length:] for other in parts) > 1:
            length += 1
        found["/".join(own[-length:])] = path
    return found


def unique(name: str, taken: Container[str]) -> str:
    """The name, with a number where a run or a direction of another is called so already."""
    names = (name if number == 1 else f"{name} ({number})" for number in itertools.count(1))
    return next(one for one in names if one not in taken)
