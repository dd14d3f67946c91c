"""`lmkit sweep`: train a recipe with values from ranges, and find the best."""

from pathlib import Path

import click

from lmkit import strict_json
from lmkit.cli import console
from lmkit.cli.common import (
    code_flags,
    data_option,
    json_option,
    out_option,
    training_code_option,
    valid_option,
)
from lmkit.errors import LmkitError


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.argument("data", metavar="[TEXT]...", nargs=-1, type=click.Path())
@data_option
@valid_option("TEXT", "Validation text")
@click.option(
    "--trials",
    metavar="N",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="Number of trainings, including those of an earlier start.",
)
@click.option(
    "--seed",
    metavar="N",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Random seed of the values that are drawn; the seed of training is in the recipe.",
)
@out_option("Folder of the sweep [default: runs/sweep].", metavar="DIR")
@training_code_option
@json_option()
def command(
    recipe: Path,
    data: tuple[str, ...],
    texts: tuple[str, ...],
    valid: tuple[str, ...],
    trials: int,
    seed: int,
    out: Path | None,
    as_json: bool,
) -> None:
    """Train the recipe RECIPE, a TOML file, on TEXT with values from the ranges of its table [sweep].

    For example: train.learning_rate = { low = 0.001, high = 0.02, log = true }, model.cell.name = ["gru", "lstm"].

    Each trial is a run, DIR/trial-000 and so on. The same command continues a sweep that was interrupted.
    """
    from lmkit.run_paths import RECIPE
    from lmkit.studies.sweep import sweep

    found = sweep(
        recipe, [*data, *texts], valid=valid, trials=trials, out=out or Path("runs/sweep"), seed=seed,
        reporter=console.TrainReporter(),
    )  # fmt: skip
    click.echo(strict_json.report(found.to_json()) if as_json else console.shown_table(found.table()))
    if found.best is None:
        raise LmkitError(
            f"every trial failed, the first because {found.trials[0].problem}; change the ranges of {recipe}"
        )
    best = Path(found.best.run, RECIPE)
    console.say(
        f"the best is {found.best.run}; repeat it: lmkit train --recipe {best} --out DIR{code_flags()}"
    )
