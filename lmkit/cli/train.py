"""`lmkit train`: a recipe from a file and flags, then a run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from lmkit import strict_json
from lmkit.cli import console
from lmkit.cli.common import data_option
from lmkit.cli.completion import PartName, RunPath, display_name
from lmkit.cli.option_flags import (
    HELP,
    Section,
    SpecCommand,
    collected,
    key,
    part_sections,
    pick,
)
from lmkit.corpus.options import DataOptions
from lmkit.errors import CheckpointError, UsageError
from lmkit.options import listed_names
from lmkit.plugins import registry
from lmkit.recipe import DEFAULT_MODEL, WORD, as_table, build, note_word_tokenizer, read_recipe, suited
from lmkit.training.options import TrainOptions

RECIPE = "recipe.toml"


def sections(given: Mapping[str, str]) -> list[Section]:
    """What the line so far makes of the options: training, data, model, its cell, tokenizer."""
    path = recipe_path(given.get("recipe"), given.get("resume"))
    tables = {} if path is None else read_recipe(path)
    found = [
        Section("Training options", ("train",), TrainOptions, as_table(tables.get("train", {}), "train")),
        Section("Data options", ("data",), DataOptions, as_table(tables.get("data", {}), "data")),
    ]
    named = "model" in given or "model" in tables
    model: dict[str, Any] | None = None
    if named or HELP not in given:
        _check_cell(given)
        table = as_table(tables.get("model", {}), "model")
        name = given.get("model") or (None if "name" in table else DEFAULT_MODEL)
        model = pick("model", table, name, "model")
        found += part_sections("model", model, given, ("model",), shown=named)
    if "tokenizer" in given or "tokenizer" in tables:
        table = as_table(tables.get("tokenizer", {}), "tokenizer")
        tokenizer = pick("tokenizer", table, given.get("tokenizer"), "tokenizer")
        if model is not None:
            tokenizer = suited(tokenizer, model["name"])
        found += part_sections("tokenizer", tokenizer, given, ("tokenizer",))
    elif any(part.long_name == WORD for part in registry().parts("tokenizer")):
        found += part_sections("tokenizer", {"name": WORD}, given, ("tokenizer",), shown=named, implied=True)
    return found


def recipe_path(recipe: str | None, resume: str | None) -> Path | None:
    """The file with the settings to start from: --recipe's, or that of the run to resume."""
    if resume is None:
        return None if recipe is None else Path(recipe)
    if recipe is not None:
        raise UsageError("--resume takes the recipe of its run; leave --recipe out")
    path = Path(resume) / RECIPE
    if not path.is_file():
        raise CheckpointError(f"{resume} holds no run to resume (no {RECIPE}): give the directory of a run")
    return path


def note() -> str:
    """The names that --model and --tokenizer take."""
    models = ", ".join(display_name(part) for kind in ("model", "cell") for part in registry().parts(kind))
    tokenizers = ", ".join(display_name(part) for part in registry().parts("tokenizer"))
    return (
        f"To list the options of a model: lmkit train --model NAME --help. Models: {models or 'none'}. "
        f"Tokenizers: {tokenizers or 'none'}."
    )


def _check_cell(given: Mapping[str, str]) -> None:
    """UsageError when --model names one cell and --cell another."""
    cell = given.get(key(("model", "cell")))
    if cell is None or "model" not in given:
        return
    part = registry().find(("model", "cell"), given["model"])
    if part.kind != "cell":
        return
    if listed_names(cell) or registry().find("cell", cell).long_name != part.long_name:
        raise UsageError(
            f"--model {given['model']} names the cell already, but --cell says {cell}; leave one out"
        )


@click.command(cls=SpecCommand, grow=sections, note=note)
@click.argument("data", metavar="[TEXT]...", nargs=-1, type=click.Path())
@click.option(
    "--recipe",
    metavar="FILE",
    type=click.Path(),
    help="Start from the settings in this TOML file; flags override it.",
)
@click.option(
    "--resume",
    metavar="RUN",
    type=RunPath(unfinished=True),
    help="Continue the run in this directory from its newest checkpoint.",
)
@click.option(
    "-m",
    "--model",
    metavar="NAME",
    type=PartName("model", "cell"),
    help=f"The model, or a cell for the recurrent one (default {DEFAULT_MODEL}).",
)
@click.option(
    "--tokenizer",
    metavar="NAME",
    type=PartName("tokenizer"),
    help="Tokenizer (default: chosen from the text: word or char).",
)
@data_option
@click.option(
    "--valid",
    "--validation",
    multiple=True,
    metavar="TEXT",
    type=click.Path(),
    help="Validation text; may be repeated.",
)
@click.option(
    "-o",
    "--out",
    "--output",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Directory of the run (default: runs/ and the model's name, numbered).",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing run in --out.")
@click.option(
    "--stop-after",
    metavar="N",
    type=click.IntRange(min=1),
    help="Stop after N steps, without changing the schedule.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@click.pass_context
def command(
    ctx: click.Context,
    data: tuple[str, ...],
    texts: tuple[str, ...],
    recipe: str | None,
    resume: str | None,
    model: str | None,
    tokenizer: str | None,
    valid: tuple[str, ...],
    out: Path | None,
    overwrite: bool,
    stop_after: int | None,
    as_json: bool,
) -> None:
    """Train a model on TEXT: files, folders, patterns or names of data sets.

    Without TEXT, train on the built-in `pydocs`, the documentation of the Python that runs lmkit.
    """
    path = recipe_path(recipe, resume)
    recipe_tables = read_recipe(path) if path else {}
    tables: dict[str, Any] = {**recipe_tables, **collected(ctx)}
    if "tokenizer" in tables and tokenizer is None and "tokenizer" not in recipe_tables:
        note_word_tokenizer(f"--{name.replace('_', '-')}" for name in tables["tokenizer"] if name != "name")
    if data or texts:
        tables["data"]["train"] = [*data, *texts]
    if valid:
        tables["data"]["valid"] = list(valid)
    settings = build(tables, source=path)
    if resume is not None and (out is not None or overwrite):
        raise UsageError("--resume goes on in the run's own directory; leave --out and --overwrite out")

    from lmkit import api

    reporter = console.TrainReporter()
    try:
        if resume is not None:
            run = api.resume_run(Path(resume), settings, stop_after=stop_after, reporter=reporter)
        else:
            run = api.train_recipe(
                settings, out=out, overwrite=overwrite, stop_after=stop_after, reporter=reporter
            )
    finally:
        reporter.finish()
    if as_json:
        click.echo(strict_json.report({"run": str(run.directory), **run.summary}))
    else:
        console.write_rows([(name.replace("_", " "), value) for name, value in run.summary.items()])
    kind = run.summary.get("kind", "causal")
    then = 'generate {} --prompt "..."' if kind == "causal" else "embed {} FILE --out vectors.safetensors"
    console.say(f"the model is in {run.directory}; next: lmkit {then.format(run.directory)}")
    console.say(f"or: lmkit eval {run.directory} FILE")
