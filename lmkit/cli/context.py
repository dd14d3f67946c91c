"""`lmkit context`: measure how far back models read, by perplexities, shuffled contexts and gradients."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lmkit import strict_json
from lmkit.cli import console
from lmkit.cli.common import (
    asks_models,
    data_command,
    html_option,
    json_option,
    load_all,
    plot_option,
    split_items,
    write_page,
)
from lmkit.corpus.options import DataOptions
from lmkit.html import report

if TYPE_CHECKING:
    from lmkit.evaluation.context import ShuffledCurve
    from lmkit.evaluation.findings import Findings
    from lmkit.evaluation.gradients import GradientCurves


@data_command
@asks_models
@plot_option()
@html_option()
@click.option(
    "--longest",
    metavar="N",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="Largest number of tokens of context.",
)
@click.option(
    "--windows",
    metavar="N",
    type=click.IntRange(min=1),
    help="Number of places in the text to measure at (default: as many as take minutes; gradients: at most 64).",
)
@click.option("--shuffle", is_flag=True, help="Also shuffle the text farther back than k tokens.")
@click.option(
    "--gradients/--no-gradients",
    default=True,
    show_default=True,
    help="For neural models, measure how far back the gradient of a loss reaches, before and after training.",
)
@json_option("Print all figures as JSON.")
def command(
    options: DataOptions,
    items: tuple[str, ...],
    texts: tuple[str, ...],
    device: str,
    allow_nonfinite: bool,
    split_unknown: str,
    plot: Path | None,
    page: Path | None,
    longest: int,
    windows: int | None,
    shuffle: bool,
    gradients: bool,
    as_json: bool,
) -> None:
    """Measure on TEXT how much context the models in the directories RUN use.

    Prints the perplexity with exactly the last k tokens of context, for k from 1; for an n-gram it is constant from
    k = N - 1. A model that resets its state at each line never reads past the beginning of a line. A bidirectional
    encoder is measured as its two causal models.
    """
    asked = split_items(items, texts, "context")

    from lmkit.corpus.readers import Text
    from lmkit.evaluation import context_tables, pictures
    from lmkit.evaluation.context_pictures import draw
    from lmkit.studies.context import context

    if plot is not None:
        pictures.check(plot)
    models = load_all(asked.runs, device=device, allow_nonfinite=allow_nonfinite, split_unknown=split_unknown)
    found = context(
        models, Text(asked.texts, options),
        longest=longest, windows=windows, shuffle=shuffle, gradients=gradients, progress=console.progress,
    )  # fmt: skip
    if len({one.vocabulary for one in found.values()}) > 1:
        console.say(
            "the models have different vocabularies: compare only the shapes of their curves", "warning"
        )
    if plot is not None:
        draw(plot, found)
    if page is not None:
        write_page(page, report("How much context models use", *found.html()))
    if as_json:
        facts = {"data": asked.texts, "runs": {name: _json(one) for name, one in found.items()}}
        click.echo(strict_json.report(facts))
    else:
        click.echo("\n\n".join(map(console.shown_table, context_tables.tables(found))))


def _json(found: "Findings") -> dict[str, Any]:
    """All figures; None if not finite, and for perplexities of scores that do not sum to one."""
    curve = found.curve

    def perplexities(nats: Sequence[float]) -> list[float | None]:
        return [found.perplexity(value) for value in nats]

    return {
        "vocabulary": found.vocabulary,
        "normalized": found.normalized,
        "context": {
            "k": list(range(1, len(curve.nats) + 1)),
            "nats": curve.nats.tolist(),
            "standard_error": curve.errors.tolist(),
            "perplexity": perplexities(curve.nats.tolist()),
            "full_perplexity": found.perplexity(curve.full),
            "windows": curve.windows,
            "tokens": curve.tokens,
        },
        "shuffled": None if found.shuffled is None else _json_shuffled(found.shuffled, perplexities),
        "gradients": {when: _json_gradients(curves) for when, curves in found.gradients.items()} or None,
    }


def _json_shuffled(shuffled: "ShuffledCurve", perplexities: Any) -> dict[str, Any]:
    return {
        "k": list(shuffled.grid),
        "nats_increase": shuffled.increase.tolist(),
        "standard_error": shuffled.errors.tolist(),
        "perplexity": perplexities((shuffled.full + shuffled.increase).tolist()),
        "full_perplexity": perplexities([shuffled.full])[0],
        "context": shuffled.context,
        "windows": shuffled.windows,
    }


def _json_gradients(curves: "GradientCurves") -> dict[str, Any]:
    from lmkit.evaluation.gradients import FAR, NEAR

    return {
        "lag": list(range(1, len(curves.memory) + 1)),
        "state": {name: norms.tolist() for name, norms in curves.state.items()},
        "layers": [{name: norms.tolist() for name, norms in layer.items()} for layer in curves.layers],
        "medians": curves.medians.tolist(),
        f"ratio_{FAR}_{NEAR}": curves.ratio,
        f"median_ratio_{FAR}_{NEAR}": curves.median_ratio,
        "weights": None if curves.weights is None else curves.weights.tolist(),
        "weights_total": curves.total,
        "weights_share": None if curves.shares is None else curves.shares.tolist(),
        "weights_far_share": curves.far_share,
        "windows": curves.windows,
    }
