"""`lmkit import`: create a run from a file in another format; each format is a command."""

from functools import partial
from pathlib import Path
from typing import Any

import click

from lmkit.cli import console
from lmkit.cli.formats import KnownFormat, find_format, names_of
from lmkit.cli.option_flags import SpecCommand, collected
from lmkit.corpus.options import DataOptions
from lmkit.errors import UsageError
from lmkit.option_owners import Owner
from lmkit.options import resolve
from lmkit.run_paths import is_run
from lmkit.specs import NoOptions


class FormatGroup(click.Group):
    """A group with a command for each readable format."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return names_of("reader")

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        return reader_command(find_format(cmd_name, "reader"))


@click.group(cls=FormatGroup, no_args_is_help=True)
def command() -> None:
    """Create a run from a model in another format."""


def reader_command(known: KnownFormat) -> click.Command:
    """The command that reads one format, with the options of that format."""
    item = known.format

    def owners(_given: Any) -> list[Owner]:
        return (
            []
            if item.options is NoOptions
            else [Owner(f"Options of {item.name}", (item.name,), item.options)]
        )

    destination: list[click.Parameter] = [
        click.Option(
            ["-o", "--out", "--output"],
            metavar="DIR",
            type=click.Path(path_type=Path),
            required=True,
            help="Directory of the run.",
        ),
        click.Option(["--overwrite"], is_flag=True, help="Replace an existing run in --out."),
    ]
    return SpecCommand(
        item.name,
        grow=owners,
        callback=click.pass_context(partial(_read, known=known)),
        params=[_file(), *destination, _max_expansion()] if item.takes_file else destination,
        help=f"Create a run from {'FILE: ' if item.takes_file else ''}{item.summary}.",
        short_help=f"{item.summary[:1].upper()}{item.summary[1:]}.",
    )


def _file() -> click.Argument:
    return click.Argument(["file"], type=click.Path(path_type=Path))


def _max_expansion() -> click.Option:
    return click.Option(
        ["--max-expansion"],
        metavar="X",
        type=click.FloatRange(min=0),
        default=DataOptions.max_expansion,
        show_default=True,
        help="Refuse a compressed file that grows by more than this factor, past 64 MiB (0: no limit).",
    )


def _read(
    ctx: click.Context,
    *,
    known: KnownFormat,
    out: Path,
    overwrite: bool,
    file: Path | None = None,
    max_expansion: float | None = None,
) -> None:
    name = known.format.name
    options = resolve(known.format.options, collected(ctx).get(name, {}), name)
    assert known.format.reader is not None
    read = partial(known.call, known.format.reader)
    if file is None:
        read(out, overwrite=overwrite, options=options)
    elif is_run(file):
        raise UsageError(f"{file} is an lmkit run already; use it as it is: lmkit eval {file} TEXT")
    else:
        limit = resolve(DataOptions, {"max_expansion": max_expansion}, "import").max_expansion
        read(file, out, overwrite=overwrite, max_expansion=limit, options=options)
    console.say(f"the model is in {out}")
