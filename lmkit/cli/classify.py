"""`lmkit classify`: train a classifier of texts."""

from pathlib import Path
from typing import Any

import click

from lmkit import strict_json
from lmkit.classification.settings import OWN_OPTIONS, classify_owners, resume_owners
from lmkit.cli import console
from lmkit.cli.common import (
    code_flags,
    init_option,
    json_option,
    model_option,
    out_option,
    overwrite_option,
    tokenizer_option,
    training_code_option,
    valid_option,
)
from lmkit.cli.completion import RunPath
from lmkit.cli.option_flags import HELP, SpecCommand, collected, flag
from lmkit.errors import UsageError
from lmkit.option_owners import Named, Owner

RESUME = ("resume",)
"""The key of --resume."""


def owners(given: Named) -> list[Owner]:
    """The owners of options for the line so far."""
    if given.get(RESUME) is not None:
        return resume_owners(given)
    return classify_owners(given.get(("init_from",)), given, spell=flag, default_model=HELP not in given)


def note() -> str:
    return (
        "To list the options of a model: lmkit classify --model NAME --help. To list models and tokenizers: "
        "lmkit plugins list."
    )


@click.command(cls=SpecCommand, grow=owners, note=note)
@click.argument("data", metavar="[TABLE]...", nargs=-1, type=click.Path())
@click.option(
    "--text", metavar="COLUMN", help="Column of the texts, the same as --text-field (default text)."
)
@click.option("--label", metavar="COLUMN", default="label", show_default=True, help="Column of the classes.")
@click.option(
    "--class",
    "classes",
    metavar="NAME=FILE",
    multiple=True,
    help="Instead of tables: a file with an example of this class in each line; repeat it for each class.",
)
@valid_option("TABLE", "Texts that choose the best epoch (default: a tenth of each class)")
@click.option(
    "--resume",
    metavar="DIR",
    type=RunPath(unfinished=True),
    help="Continue the training of the classifier in this directory from its checkpoint.",
)
@init_option("Begin with the model and the tokenizer of this run: a language model or an encoder.")
@model_option("Without --init-from: the model")
@tokenizer_option
@out_option("Directory of the classifier.", metavar="DIR", long_name=False)
@overwrite_option("an existing run in --out")
@training_code_option
@json_option()
@click.pass_context
def command(
    ctx: click.Context,
    data: tuple[str, ...],
    text: str | None,
    label: str,
    classes: tuple[str, ...],
    valid: tuple[str, ...],
    resume: str | None,
    init_from: str | None,
    out: Path | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Train a classifier on the rows of TABLE: CSV, TSV, JSON Lines or Parquet with a text and its class.

    A model reads each text; its states, pooled, go through dropout and a linear layer. Ctrl-C keeps the best epoch,
    and --resume goes on.
    """
    tables: dict[str, Any] = collected(ctx)
    reporter = console.TrainReporter()
    try:
        if resume is not None:
            given = (data, text, classes, valid, init_from, out, overwrite or None)
            summary = _resumed(Path(resume), tables, others=any(given), reporter=reporter)
        else:
            if not data and not classes:
                raise UsageError("classify needs texts: give a TABLE, or --class NAME=FILE for each class")
            if out is None:
                raise UsageError("classify needs --out DIR, the directory of the classifier")
            if text is not None:
                tables["data"]["text_field"] = text

            from lmkit.classification.examples import LabelledText, parse_class
            from lmkit.classification.run import train_files
            from lmkit.classification.settings import settings_of

            settings = settings_of(tables, init_from)
            options = settings.recipe.data
            summary = train_files(
                LabelledText(data, label, tuple(map(parse_class, classes)), options),
                settings,
                valid=LabelledText(valid, label, options=options) if valid else None,
                out=out,
                overwrite=overwrite,
                reporter=reporter,
            )
    finally:
        reporter.finish()
    if as_json:
        click.echo(strict_json.report(summary))
    else:
        console.write_rows([(name.replace("_", " "), value) for name, value in summary.items()])
    console.say(
        f"the classifier is in {summary['run']}; next: lmkit predict {summary['run']} TEXT{code_flags()}"
    )


def _resumed(
    directory: Path, tables: dict[str, Any], *, others: bool, reporter: console.TrainReporter
) -> dict[str, Any]:
    """Continue the training in a directory; of the options, only where it runs may be given."""
    from lmkit.classification.run import resume_files

    place = dict(tables.get("train", {}))
    device, threads = place.pop("device", None), place.pop("threads", None)
    if others or place:
        raise UsageError(OWN_OPTIONS)
    return resume_files(directory, device=device, threads=threads, reporter=reporter)
