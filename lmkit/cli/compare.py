"""`lmkit compare`: score any set of runs on one text, in one table."""

from collections.abc import Mapping, Sequence
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
    independent_option,
    json_option,
    plot_option,
    split_items,
)
from lmkit.corpus.options import DataOptions

Rows = Sequence[Mapping[str, Any]]


@data_command
@asks_models
@independent_option
@adaptation_options
@plot_option()
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
    as_json: bool,
) -> None:
    """Score the models in the directories RUN on TEXT, and rank them by bits per byte.

    Runs are scored one after another, each in a separate process, which measures its speed and peak memory. A
    bidirectional encoder is scored as its two causal models.
    """
    asked = split_items(items, texts, "compare")

    from lmkit.evaluation import pictures
    from lmkit.studies.compare import compare

    if plot is not None:
        pictures.check(plot)
    found = compare(
        [str(run) for run in asked.runs.values()], asked.texts, **asdict(options),
        independent=independent, device=device, allow_nonfinite=allow_nonfinite, split_unknown=split_unknown,
        progress=console.progress, **adapt,
    )  # fmt: skip
    if plot is not None:
        from lmkit.corpus.readers import Text
        from lmkit.evaluation.compare_pictures import draw

        draw(plot, found.rows, Text(asked.texts, options).describe())
    if as_json:
        click.echo(strict_json.report(found.rows))
        for note in found.notes:
            console.say(note)
        return
    click.echo(_table(found.rows, comparable=found.perplexity_compares))
    for note in found.notes:
        click.echo("\n" + console.folded(note))


def _table(rows: Rows, *, comparable: bool) -> str:
    columns: dict[str, list[str]] = {
        "run": [row["run"] for row in rows],
        "model": [row["model"] for row in rows],
    }

    def add(title: str, key: str, form: str, scale: float = 1) -> None:
        values = [row[key] for row in rows]
        if any(value is not None for value in values):
            columns[title] = ["-" if value is None else format(value * scale, form) for value in values]

    add("bits per byte", "bits_per_byte", ".4f")
    if any(row["oov_tokens"] for row in rows):
        add("spelling of unknowns", "spelling_share", ".1%")
    add("word perplexity", "word_perplexity", ",.1f")
    if all(row["word_perplexity"] is None for row in rows):
        add("bits per character", "bits_per_character", ".4f")
    if comparable:
        add("perplexity", "perplexity", ",.1f")
    add("parameters", "parameters", ",d")
    add("on disk, MB", "bytes_on_disk", ",.1f", 1e-6)
    add("tokens/s", "tokens_per_second", ",.0f")
    add("peak, MB", "peak_memory", ",.0f", 1e-6)
    add("trained, s", "training_seconds", ",.1f")
    return console.table(list(columns), list(zip(*columns.values(), strict=True)), left=2)
