"""`lmkit train`: build a recipe from a file and flags, and train a run."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lmkit import launch, strict_json
from lmkit.cli import console
from lmkit.cli.common import (
    code_flags,
    data_option,
    init_option,
    json_option,
    model_option,
    out_option,
    overwrite_option,
    tokenizer_option,
    training_code_option,
    valid_option,
)
from lmkit.cli.completion import RecipeName, RunPath
from lmkit.cli.option_flags import HELP, SpecCommand, collected, flag
from lmkit.errors import UsageError
from lmkit.first_run import first_run
from lmkit.option_owners import Named, Owner, training_owners
from lmkit.plugins import registry
from lmkit.recipe import build, read_recipe, recipe_of_run, with_start
from lmkit.run_paths import CHECKPOINTS, RECIPE
from lmkit.shipped import find_or_file

if TYPE_CHECKING:
    from lmkit.training.run import TrainedRun

SAMPLE_TOKENS = 80
"""Tokens of the text that a first run ends with."""
TEXTS = (("data",), ("texts",))
"""The keys of the arguments and options that name the training text."""
INIT = ("init_from",)
"""The key of --init-from."""


def owners(given: Named) -> list[Owner]:
    """The owners of options for the line so far."""
    tables = recipe_tables(given.get(("recipe",)), given.get(("resume",)))
    if tables is None:
        says = any(key in given for key in (HELP, INIT, *TEXTS))
        tables = {} if says else first_run(given)
    tables = with_start(tables, given.get(INIT))
    return training_owners(tables, given, spell=flag, default_model=HELP not in given)


def recipe_tables(recipe: str | None, resume: str | None) -> dict[str, Any] | None:
    """The initial settings: those of --recipe, or of the run to resume; None without either."""
    if resume is None:
        return None if recipe is None else read_recipe(find_or_file(recipe))
    if recipe is not None:
        raise UsageError("--resume uses the recipe of its run; leave --recipe out")
    return recipe_of_run(Path(resume))


def note() -> str:
    """The values of --model and --tokenizer."""
    models = ", ".join(part.display_name for kind in ("model", "cell") for part in registry().parts(kind))
    tokenizers = ", ".join(part.display_name for part in registry().parts("tokenizer"))
    return (
        f"To list the options of a model: lmkit train --model NAME --help. Models: {models or 'none'}. "
        f"Tokenizers: {tokenizers or 'none'}."
    )


@click.command(cls=SpecCommand, grow=owners, note=note)
@click.argument("data", metavar="[TEXT]...", nargs=-1, type=click.Path())
@click.option(
    "--recipe",
    metavar="NAME|FILE",
    type=RecipeName(),
    help="Start from the settings of a recipe (lmkit recipes list) or TOML file; flags override them.",
)
@click.option(
    "--resume",
    metavar="RUN",
    type=RunPath(unfinished=True),
    help="Continue the run in this directory from its newest checkpoint.",
)
@init_option("Start from the weights of this run, with its tokenizer and model options.")
@click.option(
    "--new-words",
    metavar="N",
    type=click.IntRange(min=0),
    help="With --init-from: add at most N words of the text that the vocabulary lacks.",
)
@model_option()
@tokenizer_option
@data_option
@valid_option("TEXT", "Validation text")
@out_option(
    "Directory of the run (default: runs/ and the model's name, numbered).",
    metavar="DIR",
    # --output is the output layer of the recurrent model.
    long_name=False,
)
@overwrite_option("an existing run in --out")
@training_code_option
@click.option(
    "--stop-after",
    metavar="N",
    type=click.IntRange(min=1),
    help="Stop after N steps, without changing the schedule.",
)
@json_option()
@click.pass_context
def command(
    ctx: click.Context,
    data: tuple[str, ...],
    texts: tuple[str, ...],
    recipe: str | None,
    resume: str | None,
    init_from: str | None,
    new_words: int | None,
    valid: tuple[str, ...],
    out: Path | None,
    overwrite: bool,
    stop_after: int | None,
    as_json: bool,
) -> None:
    """Train a model on TEXT: files, folders, patterns or names of data sets.

    Without TEXT, train for about two minutes on the built-in `pydocs`, the documentation of the Python that runs
    lmkit, by the recipe `first-run`.
    """
    start = recipe_tables(recipe, resume)
    tables: dict[str, Any] = {**(start or {}), **collected(ctx)}
    if data or texts:
        tables["data"]["train"] = [*data, *texts]
    if valid:
        tables["data"]["valid"] = list(valid)
    if init_from is not None:
        tables["init"] = {"run": init_from}
    if new_words is not None:
        if "init" not in tables:
            raise UsageError("--new-words adds words to the vocabulary of a run: also give --init-from RUN")
        tables["init"] = {**tables["init"], "new_words": new_words}
    settings = build(tables, source=recipe or (resume and Path(resume) / RECIPE))
    if resume is not None and init_from is not None:
        raise UsageError("--resume continues with the weights of its own run; leave --init-from out")
    if resume is not None and (out is not None or overwrite):
        raise UsageError("--resume continues in the run's directory; leave --out and --overwrite out")
    if resume is None and began_before(out):
        assert out is not None
        overwrite = True
        if any((out / CHECKPOINTS).glob("step-*")):
            settings, resume = build(recipe_of_run(out)), str(out)

    first = start is None and init_from is None and not (data or texts)
    if first and settings.train_paths and not launch.follows():
        console.say(
            "no TEXT given: training, for about two minutes if the model is neural, on the documentation of this "
            "Python (lmkit recipes show first-run)"
        )

    from lmkit.training.joining import check_shared, joined

    check_shared(settings, launch.started())
    with joined() as processes:
        if not processes.leads:
            from lmkit.training.follow import follow

            follow(processes)
            return
        reporter = console.TrainReporter()
        try:
            run = resumed_or_new(resume, out, overwrite=overwrite)(
                settings, stop_after=stop_after, reporter=reporter, processes=processes
            )
        finally:
            reporter.finish()
    if as_json:
        click.echo(strict_json.report({"run": str(run.directory), **run.summary}))
    else:
        console.write_rows([(name.replace("_", " "), value) for name, value in run.summary.items()])
    if first and run.summary.get("kind") == "causal":
        show_sample(run.directory)
    kind = run.summary.get("kind", "causal")
    next_steps(run.directory, kind, "pydocs:test" if first else "FILE", code_flags())


def resumed_or_new(resume: str | None, out: Path | None, *, overwrite: bool) -> "Callable[..., TrainedRun]":
    """The function that continues the run `resume`, or trains a new one."""
    if resume is None:
        from lmkit import api

        return partial(api.train_recipe, out=out, overwrite=overwrite)
    from lmkit.training.resume import resume_run

    return partial(resume_run, Path(resume))


def began_before(out: Path | None) -> bool:
    """Whether torchrun runs this command again, and its run in --out has begun; UsageError if it could not be found."""
    if out is None and launch.may_restart():
        raise UsageError("torchrun --max-restarts needs --out DIR, where a restart finds the checkpoints")
    return out is not None and launch.is_restart() and launch.has_marked(out)


def show_sample(directory: Path) -> None:
    """Print a text that the model in a run's directory generates."""
    from lmkit import api

    model = api.load(directory, device="cpu")
    text = model.generate(max_tokens=SAMPLE_TOKENS, seed=1, temperature=0.8)[0].text
    console.say(f"a sample of its text:\n{text}")


def next_steps(directory: Path, kind: str, text: str, code: str) -> None:
    """Print commands that use the run; text: an argument for them. code: options that they need."""
    then = 'generate {} --prompt "The"' if kind == "causal" else "embed {} FILE --out vectors.safetensors"
    console.say(f"the model is in {directory}; next: lmkit {then.format(directory)}{code}")
    console.say(f"or: lmkit eval {directory} {text}{code}")
    if code:
        console.say("--code names your file again, since lmkit runs no code that a run stores")
