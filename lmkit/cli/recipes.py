"""`lmkit recipes`: list, show and copy the recipes that ship with lmkit."""

from pathlib import Path

import click

from lmkit import shipped, strict_json
from lmkit.cli import console
from lmkit.cli.common import json_option, overwrite_option
from lmkit.cli.completion import RecipeName
from lmkit.files import new_file


@click.group(no_args_is_help=True)
def command() -> None:
    """List, show and copy the recipes that ship with lmkit.

    lmkit train --recipe NAME TEXT trains one.
    """


@command.command("list", short_help="List the recipes.")
@json_option("Print JSON.")
def list_recipes(as_json: bool) -> None:
    """List the recipes, with the result that the paper reports and the one that lmkit reached."""
    found = {name: shipped.about(name) for name in shipped.names()}
    if as_json:
        click.echo(strict_json.report([{"name": name, **about} for name, about in found.items()]))
        return
    for name, about in found.items():
        rows = [(label, about[label]) for label in ("task", "reports", "reached") if label in about]
        click.echo(click.style(name, bold=True))
        click.echo("\n".join(console.folded(f"{label}: {text}", indent=2) for label, text in rows) + "\n")
    click.echo(
        "train one: lmkit train --recipe NAME TEXT --valid TEXT; its settings: lmkit recipes show NAME"
    )


@command.command("show")
@click.argument("name", type=RecipeName())
def show(name: str) -> None:
    """Print the recipe NAME, a TOML file."""
    click.echo(shipped.find(name).read_text(encoding="utf-8"), nl=False)


@command.command("copy")
@click.argument("name", type=RecipeName())
@click.argument("file", required=False, type=click.Path(path_type=Path))
@overwrite_option("an existing FILE")
def copy(name: str, file: Path | None, overwrite: bool) -> None:
    """Copy the recipe NAME to FILE (default: NAME.toml), to change it."""
    target = file or Path(f"{name}.toml")
    text = shipped.find(name).read_bytes()
    with new_file(target, overwrite=overwrite) as written:
        written.write(text)
    console.say(f"{target}: change it, then lmkit train --recipe {target} TEXT")
