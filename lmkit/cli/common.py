"""Arguments and options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

CommandT = TypeVar("CommandT", bound=Callable[..., Any])

run_argument = click.argument("run", type=click.Path(path_type=Path))
"""RUN, a run's directory."""

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
