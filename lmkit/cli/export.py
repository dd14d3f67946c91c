"""`lmkit export`: a run in another format."""

import importlib
from pathlib import Path

import click

from lmkit.cli import console
from lmkit.cli.common import nonfinite_option, run_argument

WRITERS = {"archive": ("lmkit.archive", "write_archive")}
"""For each format the function that is called as `write(run, file, overwrite=...)`."""


@click.command()
@run_argument
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--to",
    "to",
    type=click.Choice(list(WRITERS)),
    required=True,
    help="archive: the files of the model in a .tar.gz, .tar.xz or .zip.",
)
@click.option("--overwrite", is_flag=True, help="Replace a FILE that exists.")
@nonfinite_option
def command(run: Path, file: Path, to: str, overwrite: bool, allow_nonfinite: bool) -> None:
    """Write the model in the directory RUN to FILE in another format."""
    from lmkit import runs

    module, name = WRITERS[to]
    # What does not load here would not load anywhere else.
    loaded = runs.load_run(run, allow_nonfinite=allow_nonfinite)
    getattr(importlib.import_module(module), name)(loaded, file, overwrite=overwrite)
    console.say(f"the model is in {file}")
