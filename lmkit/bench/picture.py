"""The picture of a bench: what cells learn by tokens and by time, what they remember, and their gradients."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lmkit.bench.recall import DISTANCES, SYMBOLS
from lmkit.bench.study import Bench
from lmkit.evaluation import pictures

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw(path: Path, bench: Bench) -> None:
    """Draw means over seeds as lines; the ranges over seeds are shaded."""
    with pictures.panels(path, 2, rows=2, width=10, height=7.5) as (tokens, seconds, recall, gradient):
        for place, (name, cell) in enumerate(bench.cells.items()):
            bits = [one.bits for one in cell.learned]
            _draw(tokens, cell.learned[0].tokens, bits, place, name)
            _draw(seconds, np.mean([one.seconds for one in cell.learned], 0).tolist(), bits, place, name)
            percent = [[100 * a for a in one.accuracies] for one in cell.recalls]
            _draw(recall, DISTANCES, percent, place, name)
            norms = [[n / one.gradient[0] for n in one.gradient] for one in cell.learned]
            _draw(gradient, range(1, len(norms[0]) + 1), norms, place, name, markers=False)
        recall.axhline(100 / SYMBOLS, color="grey", linewidth=1)
        recall.set(xscale="log", ylim=(-2, 102))
        gradient.set(yscale="log")
        labels = {
            tokens: ("Bits per byte of held-out text", "tokens", "bits per byte"),
            seconds: ("The same by time", "seconds of processor time", "bits per byte"),
            recall: ("Symbols remembered", "steps back (grey: chance)", "percent"),
            gradient: ("Gradient of a loss by the state", "steps back", "norm, of that one step back"),
        }
        for axes, (title, x, y) in labels.items():
            axes.set(title=title, xlabel=x, ylabel=y)
        tokens.legend()


def _draw(
    axes: "Axes",
    xs: Iterable[float],
    values: Sequence[Sequence[float]],
    place: int,
    name: str,
    *,
    markers: bool = True,
) -> None:
    style = pictures.line_style(place)
    if not markers:
        style["marker"] = ""
    at, table = list(xs), np.array(values)
    axes.plot(at, table.mean(0), label=name, **style)
    axes.fill_between(at, table.min(0), table.max(0), color=style["color"], alpha=0.15, linewidth=0)
