"""`lmkit plugins`: list the installed parts and failures, and show how to use each part."""

import shlex
from pathlib import Path
from typing import Any

import click

from lmkit import strict_json
from lmkit.cli import console, equations, plugins_bench, plugins_check
from lmkit.cli.common import json_option
from lmkit.cli.completion import PartName
from lmkit.cli.option_flags import written
from lmkit.option_fields import OptionField, fields_of
from lmkit.plugins import Part, Registry, registry
from lmkit.scaffold import PARTS
from lmkit.specs import KINDS, ModelSpec

USES = {
    "model": "lmkit train --model {0} FILE",
    "cell": "lmkit train --model {0} FILE (or --cell {0} with a model that takes cells)",
    "tokenizer": "lmkit train --tokenizer {0} FILE",
    "decoder": "lmkit generate RUN --decoder {0}",
    "logger": "lmkit train --log-to {0} FILE",
}
FLAGS = {"logger": "log-to"}
"""The flags of parts that are not called like their kind."""


@click.group(no_args_is_help=True)
@click.pass_obj
def command(messages: console.MessageHandler) -> None:
    """List and describe the installed parts; begin, check and measure one of your own."""
    # These commands print failures to load themselves.
    messages.silence("lmkit.plugins")


command.add_command(plugins_check.command)
command.add_command(plugins_bench.command)


@command.command("list", short_help="List every part, and what failed to load.")
@json_option("Print JSON.")
def list_parts(as_json: bool) -> None:
    """List every tokenizer, cell, model, decoder and logger with what to type for it, and what failed to load.

    Tokenizers, cells, models and loggers are for lmkit train, and decoders for lmkit generate.
    """
    found = registry()
    rows = [
        {
            "kind": part.kind,
            "name": part.spec.name,
            "long_name": part.long_name,
            "distribution": part.plugin.distribution,
            "version": part.plugin.version,
            "summary": part.spec.summary,
            "use": usage(part),
        }
        for part in found.parts()
    ]
    failures = [
        {
            "plugin": failure.plugin.name,
            "distribution": failure.plugin.distribution,
            "version": failure.plugin.version,
            "reason": failure.reason,
        }
        for failure in found.failures
    ]
    if as_json:
        click.echo(strict_json.report({"parts": rows, "failures": failures, "collisions": collisions(found)}))
        return
    click.echo(
        console.table(["kind", "type", "distribution", "summary"], list(map(_cells, found.parts())), left=4)
    )
    for failure in found.failures:
        click.echo(console.folded(f"not loaded: {failure}"))
    for line in collisions(found):
        click.echo(console.folded(f"one name twice: {line}"))


@command.command("show")
@click.argument("name", type=PartName(*KINDS))
@json_option("Print JSON.")
def show(name: str, as_json: bool) -> None:
    """Describe the part NAME: its options, and how to use it."""
    parts = _named(registry(), name)
    for part in parts:
        part.load()
    described = [describe(part) for part in parts]
    if as_json:
        click.echo(strict_json.report(described))
    else:
        click.echo("\n\n".join(_as_text(part) for part in described))


@command.command("new")
@click.argument("kind", metavar="KIND", type=click.Choice(PARTS))
@click.argument("name")
@click.option("--out", metavar="DIR", type=Path, help="Folder of the distribution (default: NAME).")
@json_option("Print JSON.")
def new(kind: str, name: str, out: Path | None, as_json: bool) -> None:
    """Write the distribution NAME with one part of a KIND: cell, tokenizer, model, decoder or encoder.

    It installs, and passes lmkit plugins check as it is: change it from there.
    """
    from lmkit.scaffold.write import TRY, write_plugin

    folder = Path(name) if out is None else out
    files = write_plugin(kind, name, folder)
    if as_json:
        click.echo(strict_json.report({"folder": str(folder), "files": list(map(str, files))}))
        return
    for path in files:
        click.echo(path)
    console.say(f"next: pip install -e {shlex.quote(str(folder))} && lmkit plugins check '{name}:*'")
    console.say(f"then: {TRY[kind].format(name)}")


def collisions(found: Registry) -> list[str]:
    """The names that several plugins share, with the meaning of each."""
    spaces: dict[tuple[str, str], list[Part]] = {}
    for part in found.parts():
        # Cells and models share one namespace.
        space = "model" if part.kind == "cell" else part.kind
        spaces.setdefault((space, part.spec.name), []).append(part)
    lines = []
    for (_, name), parts in spaces.items():
        if len(parts) > 1:
            names = " and ".join(part.long_name for part in parts)
            own = [part.long_name for part in parts if part.plugin.builtin]
            meaning = f"'{name}' means {own[0]}" if own else "use a long name"
            lines.append(f"{names}; {meaning}")
    return lines


def describe(part: Part) -> dict[str, Any]:
    """A part and its options as JSON values."""
    return {
        "kind": part.kind,
        "name": part.long_name,
        "distribution": part.plugin.distribution,
        "version": part.plugin.version,
        "origin": part.origin,
        "summary": part.spec.summary,
        "target": part.spec.target,
        "use": usage(part),
        "options": [_describe_option(item) for item in fields_of(part.spec.options)],
        **(_describe_cell(part.load()) if part.kind == "cell" else {}),
    }


def _describe_cell(cell: Any) -> dict[str, Any]:
    return {
        "description": equations.description(cell),
        "equations": equations.equations(cell),
        "tiers": list(cell.tiers()),
    }


def _describe_option(item: OptionField) -> dict[str, Any]:
    return {
        "name": item.name,
        "flag": f"--{item.flag}",
        "type": item.kind or item.type.__name__,
        "default": item.default,
        "min": item.min,
        "max": item.max,
        "choices": list(item.choices),
        "help": item.help,
    }


def usage(part: Part) -> str:
    """The command that uses a part."""
    own = part.spec.command if isinstance(part.spec, ModelSpec) else ""
    return own or USES[part.kind].format(part.display_name)


def _cells(part: Part) -> list[str]:
    own = isinstance(part.spec, ModelSpec) and part.spec.command
    return [
        part.kind,
        own or f"--{FLAGS.get(part.kind, part.kind)} {part.display_name}",
        part.origin,
        part.spec.summary,
    ]


def _as_text(part: dict[str, Any]) -> str:
    lines = [
        f"{part['kind']} {part['name']} ({part['origin']})",
        part["summary"],
        part.get("description", ""),
        f"use: {part['use']}",
    ]
    if "tiers" in part:
        lines.append(f"tiers, the first that fits is used (--tier): {', '.join(part['tiers'])}")
    # A summary may be the first line of the docstring, whose paragraph is the description.
    lines = list(dict.fromkeys(line for line in lines if line))
    if part.get("equations"):
        lines += ["equations:", *(f"    {line}".rstrip() for line in part["equations"])]
    text = "\n".join(console.folded(console.printable(line), indent=4) for line in lines)
    if not part["options"]:
        return f"{text}\nno options"
    rows = [[item["flag"], item["help"], _values(item), _default(item)] for item in part["options"]]
    return f"{text}\n\n{console.table(['option', 'meaning', 'values', 'default'], rows, left=4)}"


def _values(item: dict[str, Any]) -> str:
    """The values of an option: its choices, or its type and its bounds."""
    if item["choices"]:
        return ", ".join(item["choices"])
    bounds = (("from", item["min"]), ("to", item["max"]))
    return " ".join(
        [item["type"], *(f"{word} {written(bound)}" for word, bound in bounds if bound is not None)]
    )


def _default(item: dict[str, Any]) -> str:
    return "" if item["default"] is None else written(item["default"])


def _named(found: Registry, name: str) -> list[Part]:
    """Every part with that bare or long name; an error with the reason if no part has it."""
    parts = [part for part in found.parts() if name in (part.spec.name, part.long_name)]
    # Without any, the registry gives the reason.
    return parts or [found.find(tuple(KINDS), name)]
