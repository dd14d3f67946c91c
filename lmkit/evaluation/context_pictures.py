"""The picture of what `lmkit context` finds: a panel for each kind of figures, a line a model."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lmkit.evaluation import pictures
from lmkit.evaluation.findings import Findings
from lmkit.evaluation.gradients import GradientCurves

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKED = {1, 2, 3, 5, 10, 20, 30, 40, 50, 60, 100, 200, 500, 1000}
"""The points with markers; on all of a thousand points they would hide one another."""


def draw(path: Path, found: Mapping[str, Findings]) -> None:
    """Draw one panel per kind of figure, and one line per model."""
    kinds = [_draw_contexts]
    if any(one.shuffled for one in found.values()):
        kinds.append(_draw_shuffled)
    if any(one.gradients for one in found.values()):
        kinds += [_draw_gradients, _draw_weights]
    for name in found:
        pictures.warn_of_missing_font(name)
    with pictures.panels(path, len(kinds), width=4.4 * len(kinds), height=4.4) as axes:
        for draw, own in zip(kinds, axes, strict=True):
            draw(own, found)
        axes[0].legend()


def _draw_contexts(axes: "Axes", found: Mapping[str, Findings]) -> None:
    for place, (name, one) in enumerate(found.items()):
        values = [one.perplexity(nats) for nats in one.curve.nats.tolist()]
        _line(axes, range(1, len(values) + 1), values, place, label=name)
    axes.set(title="Exactly k tokens of context", xlabel="tokens of context", ylabel="perplexity")
    _logarithmic(axes, "xy")


def _draw_shuffled(axes: "Axes", found: Mapping[str, Findings]) -> None:
    for place, one in enumerate(found.values()):
        if one.shuffled:
            _line(axes, one.shuffled.grid, one.increase, place)
    axes.set(title="The rest shuffled", xlabel="tokens left in order", ylabel="increase of perplexity")
    _logarithmic(axes, "x")


def _draw_gradients(axes: "Axes", found: Mapping[str, Findings]) -> None:
    _draw_pairs(axes, found, lambda curves: curves.medians)
    axes.set(title="Gradient by the state", ylabel="median norm (of the memory c, if there is one)")


def _draw_weights(axes: "Axes", found: Mapping[str, Findings]) -> None:
    _draw_pairs(axes, found, lambda curves: curves.shares)
    axes.set(title="Gradient by the recurrent weights", ylabel="share of the step")


def _draw_pairs(
    axes: "Axes", found: Mapping[str, Findings], pick: Callable[[GradientCurves], np.ndarray | None]
) -> None:
    """Dashed before training, solid after it."""
    for place, one in enumerate(found.values()):
        for when, curves in one.gradients.items():
            norms = pick(curves)
            if norms is not None:
                # A value too small for a float has no logarithm.
                values = [value or None for value in norms.tolist()]
                dashes = "--" if when == "before" else "-"
                _line(axes, range(1, len(values) + 1), values, place, linestyle=dashes)
    for dashes, when in (("--", "before training"), ("-", "after training")):
        axes.plot([], [], color="black", linestyle=dashes, label=when)
    axes.set(yscale="log", xlabel="steps back")
    axes.legend()


def _line(axes: "Axes", xs: Sequence[int], values: Sequence[float | None], place: int, **style: Any) -> None:
    """A model's line, with the colour and marker of its place; dashes have another meaning here."""
    marked = [index for index, x in enumerate(xs) if x in MARKED]
    ys = [math.nan if value is None else value for value in values]
    axes.plot(xs, ys, **{**pictures.line_style(place), "linestyle": "-", "markevery": marked, **style})


def _logarithmic(axes: "Axes", which: str) -> None:
    """Logarithmic axes whose numbers are written out."""
    from matplotlib.ticker import LogFormatter

    for name in which:
        axes.set(**{f"{name}scale": "log"})
        axis = axes.xaxis if name == "x" else axes.yaxis
        axis.set_major_formatter(LogFormatter())
        axis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.5)))
