"""`lmkit context`: measure how far back models read, by perplexities, shuffled contexts and gradients."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lmkit import strict_json
from lmkit.cli import console
from lmkit.cli.common import asks_models, data_command, json_option, load_all, plot_option, split_items
from lmkit.corpus.options import DataOptions

if TYPE_CHECKING:
    from lmkit.evaluation.context import ShuffledCurve
    from lmkit.evaluation.findings import Findings
    from lmkit.evaluation.gradients import GradientCurves

LAG_GRID = (1, 2, 3, 5, 10, 20, 50)
"""The steps back of the table."""


@data_command
@asks_models
@plot_option()
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
    from lmkit.evaluation import pictures
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
    if as_json:
        facts = {"data": asked.texts, "runs": {name: _json(one) for name, one in found.items()}}
        click.echo(strict_json.report(facts))
    else:
        click.echo("\n\n".join(_tables(found)))


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


def _tables(found: Mapping[str, "Findings"]) -> list[str]:
    """Print the figures, each in a table."""
    from lmkit.evaluation.context import GRID

    longest = max(len(one.curve.nats) for one in found.values())
    rows = []
    for k in (*(k for k in GRID if k <= longest), None):
        cells = []
        for one in found.values():
            has = k is None or k <= len(one.curve.nats)
            nats = (one.curve.full if k is None else one.curve.nats[k - 1]) if has else math.nan
            cells.append(_shown(one.perplexity(float(nats))))
        rows.append(["all" if k is None else str(k), *cells])
    least = min(one.curve.windows for one in found.values())
    errors = [float(one.curve.errors.max()) for one in found.values()]
    note = f"perplexity with exactly this many tokens of context; {least:,} windows"
    if known := [error for error in errors if math.isfinite(error)]:
        note += f", standard errors up to {100 * max(known):.1f} %"
    tables = [console.table(["context", *found], rows) + f"\n\n{console.folded(note)}"]
    if any(one.shuffled for one in found.values()):
        tables.append(_shuffled_table(found))
    if any(one.gradients for one in found.values()):
        tables.append(_gradient_table(found))
    return tables


def _shuffled_table(found: Mapping[str, "Findings"]) -> str:
    grid = max((one.shuffled.grid for one in found.values() if one.shuffled), key=len)
    rows = []
    for place, k in enumerate(grid):
        cells = []
        for one in found.values():
            has = one.shuffled is not None and place < len(one.shuffled.grid)
            cells.append(_shown(one.increase[place]) if has else "-")
        rows.append([str(k), *cells])
    context = max(one.shuffled.context for one in found.values() if one.shuffled)
    note = f"increase of perplexity when all but the last k of {context} tokens are shuffled"
    return console.table(["k", *found], rows) + f"\n\n{console.folded(note)}"


def _gradient_table(found: Mapping[str, "Findings"]) -> str:
    from lmkit.evaluation.gradients import FAR, FAR_SHARE, NEAR

    rows, without = [], []
    for name, one in found.items():
        if not one.gradients:
            without.append(name)
        for when, curves in one.gradients.items():
            norms = [f"{curves.memory[k - 1]:.1e}" if k <= len(curves.memory) else "-" for k in LAG_GRID]
            ratio, median = (
                "-" if value is None else f"{value:.2g}" for value in (curves.ratio, curves.median_ratio)
            )
            share = "-" if curves.far_share is None else f"{100 * curves.far_share:.1f}"
            total = "-" if curves.total is None else f"{curves.total:.2g}"
            rows.append([f"{name} {when}", *norms, ratio, median, total, share])
    header = [
        "steps back",
        *map(str, LAG_GRID),
        f"{FAR} over {NEAR}",
        "of medians",
        "weights",
        f"% from past {FAR_SHARE}",
    ]
    windows = max(c.windows for one in found.values() for c in one.gradients.values())
    note = (
        "norm of the gradient of a token's loss with respect to the state this many steps before, and to the "
        f"recurrent weights, before and after training; mean of {windows} tokens"
    )
    if without:
        note += f"; no state that gradients reach: {', '.join(map(console.printable, without))}"
    return console.table(header, rows) + f"\n\n{console.folded(note)}"


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:,.2f}"
