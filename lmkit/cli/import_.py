"""`lmkit import`: a run from a file in another format, each of which is a command of its own."""

from functools import partial
from pathlib import Path
from typing import Any

import click

from lmkit.cli import console
from lmkit.cli.dynamic import Section, SpecCommand, collected
from lmkit.cli.formats import KnownFormat, find_format, names_of
from lmkit.corpus.options import DataOptions
from lmkit.options import resolve
from lmkit.specs import NoOptions


class FormatGroup(click.Group):
    """A group that has a command for each format that can be read."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return names_of("reader")

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        return reader_command(find_format(cmd_name, "reader"))


@click.group(cls=FormatGroup, no_args_is_help=True)
def command() -> None:
    """Make a run of a model in another format."""


def reader_command(known: KnownFormat) -> click.Command:
    """The command that reads one format, with the options of its own."""
    item = known.format

    def sections(_given: Any) -> list[Section]:
        return (
            []
            if item.options is NoOptions
            else [Section(f"Options of {item.name}", (item.name,), item.options, {})]
        )

    return SpecCommand(
        item.name,
        grow=sections,
        callback=click.pass_context(partial(_read, known=known)),
        params=[
            click.Argument(["file"], type=click.Path(path_type=Path)),
            click.Option(
                ["--out"],
                metavar="DIR",
                type=click.Path(path_type=Path),
                required=True,
                help="Where the run goes.",
            ),
            click.Option(["--overwrite"], is_flag=True, help="Replace a run that --out already holds."),
            click.Option(
                ["--max-expansion"],
                metavar="X",
                type=click.FloatRange(min=0),
                default=DataOptions.max_expansion,
                show_default=True,
                help="Refuse a compressed file that grows by more than this factor, past 64 MiB (0: no limit).",
            ),
        ],
        help=f"Make a run of FILE: {item.summary}.",
        short_help=f"{item.summary[:1].upper()}{item.summary[1:]}.",
    )


def _read(
    ctx: click.Context, *, known: KnownFormat, file: Path, out: Path, overwrite: bool, max_expansion: float
) -> None:
    limit = resolve(DataOptions, {"max_expansion": max_expansion}, "import").max_expansion
    name = known.format.name
    options = resolve(known.format.options, collected(ctx).get(name, {}), name)
    assert known.format.reader is not None
    known.call(known.format.reader, file, out, overwrite=overwrite, max_expansion=limit, options=options)
    console.say(f"the model is in {out}")
