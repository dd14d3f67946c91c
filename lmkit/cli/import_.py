"""`lmkit import`: a run from a file in another format."""

import importlib
from pathlib import Path

import click

from lmkit.cli import console
from lmkit.corpus.options import DataOptions
from lmkit.options import resolve

READERS = {"archive": ("lmkit.archive", "read_archive")}
"""For each format the function that is called as `read(file, out, overwrite=..., max_expansion=...)`."""


@click.command()
@click.argument("format", type=click.Choice(list(READERS)), metavar="FORMAT")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--out", metavar="DIR", type=click.Path(path_type=Path), required=True, help="Where the run goes."
)
@click.option("--overwrite", is_flag=True, help="Replace a run that --out already holds.")
@click.option(
    "--max-expansion",
    metavar="X",
    type=click.FloatRange(min=0),
    default=DataOptions.max_expansion,
    show_default=True,
    help="Refuse an archive that grows by more than this factor, past 64 MiB (0: no limit).",
)
def command(format: str, file: Path, out: Path, overwrite: bool, max_expansion: float) -> None:
    """Make a run of FILE, which is in FORMAT: archive, what `lmkit export --to archive` writes."""
    limit = resolve(DataOptions, {"max_expansion": max_expansion}, "import").max_expansion
    module, name = READERS[format]
    read = getattr(importlib.import_module(module), name)
    read(file, out, overwrite=overwrite, max_expansion=limit)
    console.say(f"the model is in {out}")
