"""`lmkit compare`: score any set of runs on one text, in one table."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from lmkit import strict_json
from lmkit.cli import console
from lmkit.cli.common import (
    adaptation_options,
    asks_models,
    data_command,
    html_option,
    independent_option,
    json_option,
    plot_option,
    split_items,
    write_page,
)
from lmkit.corpus.options import DataOptions
from lmkit.html import report


@data_command
@asks_models
@independent_option
@adaptation_options
@plot_option()
@html_option()
@json_option("Print a list of rows, best first, as JSON.")
def command(
    options: DataOptions,
    items: tuple[str, ...],
    texts: tuple[str, ...],
    device: str,
    allow_nonfinite: bool,
    split_unknown: str,
    independent: bool,
    adapt: dict[str, Any],
    plot: Path | None,
    page: Path | None,
    as_json: bool,
) -> None:
    """Score the models in the directories RUN on TEXT, and rank them by bits per byte.

    Runs are scored one after another, each in a separate process, which measures its speed and peak memory. A
    bidirectional encoder is scored as its two causal models.
    """
    asked = split_items(items, texts, "compare")

    from lmkit.corpus.readers import Text
    from lmkit.evaluation import pictures
    from lmkit.evaluation.compare_pictures import draw
    from lmkit.studies.compare import compare

    if plot is not None:
        pictures.check(plot)
    found = compare(
        [str(run) for run in asked.runs.values()], asked.texts, **asdict(options),
        independent=independent, device=device, allow_nonfinite=allow_nonfinite, split_unknown=split_unknown,
        progress=console.progress, **adapt,
    )  # fmt: skip
    text = Text(asked.texts, options).describe()
    if plot is not None:
        draw(plot, found.rows, text)
    if page is not None:
        write_page(page, report(f"Models compared on {text}", *found.html()))
    if as_json:
        click.echo(strict_json.report(found.rows))
        for note in found.notes:
            console.say(note)
        return
    click.echo(console.shown_table(found.table()))
    for note in found.notes:
        click.echo("\n" + console.folded(note))
