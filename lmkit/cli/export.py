"""`lmkit export`: write a run in another format."""

from pathlib import Path

import click

from lmkit.cli import console
from lmkit.cli.common import code_option, nonfinite_option, overwrite_option, run_argument
from lmkit.cli.formats import find_format, known_formats, names_of
from lmkit.cli.option_flags import SpecCommand, collected
from lmkit.errors import UsageError
from lmkit.option_owners import Named, Owner
from lmkit.options import resolve
from lmkit.specs import NoOptions


def note() -> str:
    """The values of --to."""
    formats = [item.format for item in known_formats() if item.format.writer]
    return f"Formats: {'; '.join(f'{item.name}, {item.summary}' for item in formats)}."


def owners(given: Named) -> list[Owner]:
    """The options of the format that the line names."""
    name = given.get(("to",))
    if name not in names_of("writer"):
        return []
    item = find_format(name, "writer").format
    if item.writer_options is NoOptions:
        return []
    return [Owner(f"Options of {item.name}", (item.name,), item.writer_options)]


@click.command(cls=SpecCommand, grow=owners, note=note)
@run_argument
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--to", "to", metavar="FORMAT", required=True, help="Format of FILE.")
@overwrite_option("an existing FILE")
@nonfinite_option
@code_option
@click.pass_context
def command(
    ctx: click.Context, run: Path, file: Path, to: str, overwrite: bool, allow_nonfinite: bool
) -> None:
    """Write the model in the directory RUN to FILE in another format."""
    known = find_format(to, "writer")
    kind = known.format.writer_options
    given = {} if kind is NoOptions else {"options": resolve(kind, collected(ctx)[known.format.name], to)}

    from lmkit import runs

    # A model that does not load here would not load anywhere else.
    loaded = runs.load_run(run, allow_nonfinite=allow_nonfinite)
    if known.part is not None and loaded.model_choice.name != known.part.long_name:
        raise UsageError(
            f"{run} holds a model {loaded.model_choice.name}, but the format {to} is for "
            f"{known.part.long_name}; {known.format.others or 'choose another --to'}"
        )
    assert known.format.writer is not None
    known.call(known.format.writer, loaded, file, overwrite=overwrite, **given)
    console.say(f"the model is in {file}")
