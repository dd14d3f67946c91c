"""`lmkit fill`: fill in the blank of a line, and show the words that the answer depends on."""

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lmkit import strict_json
from lmkit.cli import console
from lmkit.cli.common import (
    adaptation_options,
    html_option,
    json_option,
    load_all,
    loading_options,
    plot_option,
    split_items,
    write_page,
)
from lmkit.cli.completion import RunOrText
from lmkit.errors import UsageError
from lmkit.evaluation.normalization import GIVEN, NORMALIZATIONS, PROPOSED
from lmkit.html import report

if TYPE_CHECKING:
    from lmkit.evaluation.fill_why import Why


@click.command()
@click.argument("items", metavar="RUN... TEXT", nargs=-1, required=True, type=RunOrText())
@loading_options
@adaptation_options
@click.option(
    "--candidates", metavar="A,B,...", help="Rank these candidates instead of the model's proposals."
)
@click.option(
    "--top",
    metavar="N",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    help="Number of candidates to show.",
)
@click.option(
    "--max-tokens",
    metavar="N",
    type=click.IntRange(1, 100),
    default=3,
    show_default=True,
    help="Maximum number of tokens in a proposal.",
)
@click.option(
    "--normalize",
    type=click.Choice(list(NORMALIZATIONS)),
    help="How to compare candidates of different lengths: by log-probability unchanged, per token, per character, or "
    f"minus that without context (pmi). [default: {GIVEN}; for proposals {PROPOSED}]",
)
@click.option("--why", "explain", is_flag=True, help="Show which words the best answer depends on.")
@plot_option()
@html_option("Write the candidates and the result of --why as one file of HTML.")
@json_option("Print a list of candidates, best first, as JSON.")
def command(
    items: tuple[str, ...],
    device: str,
    allow_nonfinite: bool,
    split_unknown: str,
    adapt: dict[str, Any],
    candidates: str | None,
    top: int,
    max_tokens: int,
    normalize: str | None,
    explain: bool,
    plot: Path | None,
    page: Path | None,
    as_json: bool,
) -> None:
    """Fill in the blank of TEXT, "... so i will ____ .", with the models in the directories RUN.

    A causal model ranks candidates by the log-probability of the whole line, a bidirectional encoder by the scores
    of both directions (two-sided). --normalize makes candidates of different lengths comparable. Chinese may be
    written without spaces for any model.
    """
    from lmkit.evaluation import fill_page, pictures
    from lmkit.evaluation import fill_report as heat
    from lmkit.studies.fill import fill, records

    asked = split_items(items, (), "fill", what="a sentence with a blank")
    if len(asked.texts) > 1:
        raise UsageError(f'fill takes one sentence, not {len(asked.texts)}; quote it, as in "i will ____ ."')
    (text,) = asked.texts
    if plot is not None:
        pictures.check(plot)
    given = [] if candidates is None else candidates.replace("，", ",").split(",")
    explain = explain or page is not None or plot is not None
    models = load_all(
        asked.runs, device=device, allow_nonfinite=allow_nonfinite, split_unknown=split_unknown, **adapt
    )
    answers = fill(models, text, given, max_tokens=max_tokens, normalize=normalize, why=explain)
    for label, answer in answers.items():
        for candidate, words in answer.unknown.items():
            console.say(
                f"{label}: '{candidate}' has words outside the vocabulary ({', '.join(words)}), which share one "
                "probability",
                "warning",
            )
    found = {label: answer.filled for label, answer in answers.items()}
    reasons = {label: answer.why for label, answer in answers.items() if answer.why is not None}
    if page is not None:
        write_page(page, report(f"What fills the blank: {text}", *answers.html(top)))
    if plot is not None:
        heat.picture(plot, reasons)
    if as_json:
        rows = [row for label, answer in answers.items() for row in records(label, answer, top)]
        click.echo(strict_json.report(rows))
        return
    colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    for place, (label, filled) in enumerate(found.items()):
        click.echo(("\n" if place else "") + console.shown_table(fill_page.candidates(label, filled, top)))
        if label in reasons:
            click.echo("\n" + console.folded(heat.terminal(printable(reasons[label]), colours=colours)))
            click.echo("\n" + console.table(heat.HEADER, heat.rows(reasons[label].clauses)))
    used = next(iter(found.values())).normalize
    click.echo("\n" + console.folded(f"ranked by {NORMALIZATIONS[used]} (--normalize {used})"))


def printable(reasons: "Why") -> "Why":
    """The same with control characters escaped."""
    words = [
        part and replace(part, text=console.printable(part.text), space=console.printable(part.space))
        for part in reasons.words
    ]
    space = console.printable(reasons.space)
    return replace(reasons, answer=console.printable(reasons.answer), space=space, words=words)
