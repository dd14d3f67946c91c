"""The figures of `lmkit context` as tables, and as HTML with a chart."""

import math
from collections.abc import Mapping

from lmkit.evaluation.context import GRID
from lmkit.evaluation.findings import Findings
from lmkit.evaluation.gradients import FAR, FAR_SHARE, NEAR
from lmkit.evaluation.tables import Table
from lmkit.html import Html, Line, chart, section

LAG_GRID = (1, 2, 3, 5, 10, 20, 50)
"""The steps back of the table."""


def tables(found: Mapping[str, Findings]) -> list[Table]:
    """A table of each kind of figure, with a column or rows for each model."""
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
    all_tables = [Table(["context", *found], rows, note=note)]
    if any(one.shuffled for one in found.values()):
        all_tables.append(_shuffled(found))
    if any(one.gradients for one in found.values()):
        all_tables.append(_gradients(found))
    return all_tables


def _shuffled(found: Mapping[str, Findings]) -> Table:
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
    return Table(["k", *found], rows, note=note)


def _gradients(found: Mapping[str, Findings]) -> Table:
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
        note += f"; no state that gradients reach: {', '.join(without)}"
    return Table(header, rows, note=note)


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:,.2f}"


def html(found: Mapping[str, Findings]) -> list[Html]:
    """A section for each kind of figure; the perplexities also as a chart."""
    parts = []
    for title, table in zip(_titles(found), tables(found), strict=True):
        drawn = [_chart(found)] if not parts else []
        parts.append(section(title, *drawn, *table.html(title)))
    return parts


def _titles(found: Mapping[str, Findings]) -> list[str]:
    titles = ["Perplexity with exactly k tokens of context"]
    if any(one.shuffled for one in found.values()):
        titles.append("The rest shuffled")
    if any(one.gradients for one in found.values()):
        titles.append("Gradients, before and after training")
    return titles


def _chart(found: Mapping[str, Findings]) -> Html:
    lines = [
        Line(
            name,
            range(1, len(one.curve.nats) + 1),
            [one.perplexity(nats) for nats in one.curve.nats.tolist()],
        )
        for name, one in found.items()
    ]
    return chart(
        lines, title="Perplexity by tokens of context", x="tokens of context", y="perplexity", log="xy"
    )
