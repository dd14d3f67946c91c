"""A chart of lines as SVG inside a page."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lmkit.html.markup import Html, joined, tag
from lmkit.html.parts import note, scroller

WIDTH, HEIGHT = 520, 320
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 12, 46
"""Margins for the numbers and names of the axes."""
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#C46D9C", "#3D8FC4", "#A67300")
"""Okabe and Ito (2008), without black and yellow; the light ones darker, so that all contrast with a dark and with a
light page by 3 to 1 (WCAG 2.2, 1.4.11)."""
DASHES = (None, "7 4", "2 3", "9 3 2 3")
"""Lines also differ without colours."""
TICKS = 6


@dataclass(frozen=True)
class Line:
    """A line of a chart; a y of None, and one that is not finite, interrupts it."""

    name: str
    xs: Sequence[float]
    ys: Sequence[float | None]


def chart(
    lines: Sequence[Line], *, title: str, x: str, y: str, log: str = "", low: float | None = None
) -> Html:
    """A chart with a legend. log: the logarithmic axes, "x", "y" or "xy". low: the lowest y shown, if given.

    Its numbers are no text: give them in a table too.
    """
    across = _Axis([value for line in lines for value in line.xs], "x" in log, LEFT, WIDTH - RIGHT)
    values = [value for line in lines for value in line.ys if _drawn(value, "y" in log)]
    if low is not None:
        values.append(low)
    up = _Axis([value for value in values if value is not None], "y" in log, HEIGHT - BOTTOM, TOP)
    parts: list[str] = []
    for value in across.ticks():
        place = across.place(value)
        parts.append(_rule(place, TOP, place, HEIGHT - BOTTOM))
        parts.append(_text(place, HEIGHT - BOTTOM + 18, _number(value), "middle"))
    for value in up.ticks():
        place = up.place(value)
        parts.append(_rule(LEFT, place, WIDTH - RIGHT, place))
        parts.append(_text(LEFT - 6, place + 4, _number(value), "end"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, x, "middle"))
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(_text(14, middle, y, "middle", transform=f"rotate(-90 14 {middle:g})"))
    for place, line in enumerate(lines):
        parts.append(tag("path", d=_path(line, across, up), **_style(place)))
    drawing = tag(
        "svg",
        *parts,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=f"{title}; the numbers are in the table",
    )
    legend = [
        joined(
            [
                tag("svg", tag("path", d="M0 6H30", **_style(place)), viewBox="0 0 30 12", class_="key"),
                " ",
                line.name,
            ]
        )
        for place, line in enumerate(lines)
    ]
    items = tag("ul", *(tag("li", item) for item in legend), class_="legend")
    return tag("figure", tag("figcaption", note(title)), scroller(drawing, f"{title} (chart)"), items)


class _Axis:
    """Places of values between two points of the drawing."""

    def __init__(self, values: Sequence[float], logarithmic: bool, start: float, end: float) -> None:
        found = [value for value in values if math.isfinite(value) and (value > 0 or not logarithmic)]
        self._log = logarithmic
        self.low, self.high = (min(found), max(found)) if found else (1.0, 2.0)
        if self.low == self.high:
            self.low, self.high = (
                (self.low / 2, self.high * 2) if logarithmic else (self.low - 1, self.high + 1)
            )
        self._start, self._end = start, end

    def place(self, value: float) -> float:
        low, high, at = (math.log(v) if self._log else v for v in (self.low, self.high, value))
        return self._start + (at - low) / (high - low) * (self._end - self._start)

    def ticks(self) -> list[float]:
        """Round numbers inside the axis: 1, 2 and 5 times powers of ten, or only the powers if those are many."""
        if not self._log:
            step = _step((self.high - self.low) / TICKS)
            first, last = math.ceil(self.low / step), math.floor(self.high / step)
            return [number * step for number in range(first, last + 1)]
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        inside = [
            [
                factor * 10.0**power
                for power in powers
                for factor in factors
                if self.low <= factor * 10.0**power <= self.high
            ]
            for factors in ((1,), (1, 2, 5))
        ]
        return inside[1] if len(inside[1]) <= TICKS + 4 else inside[0][:: 1 + len(inside[0]) // (TICKS + 4)]


def _step(least: float) -> float:
    """The smallest round number that is not below `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))


def _drawn(value: float | None, logarithmic: bool) -> bool:
    return value is not None and math.isfinite(value) and (value > 0 or not logarithmic)


def _path(line: Line, across: _Axis, up: _Axis) -> str:
    """The commands that draw a line."""
    path, pen = "", "M"
    for at, value in zip(line.xs, line.ys, strict=True):
        if value is None or not _drawn(value, up._log):
            pen = "M"
            continue
        path += f"{pen}{across.place(at):.1f} {up.place(value):.1f}"
        pen = "L"
    return path


def _style(place: int) -> dict[str, str | None]:
    return {
        "fill": "none",
        "stroke": COLOURS[place % len(COLOURS)],
        "stroke_width": "2",
        "stroke_dasharray": DASHES[place % len(DASHES)],
    }


def _rule(x1: float, y1: float, x2: float, y2: float) -> Html:
    return tag("line", x1=f"{x1:.1f}", y1=f"{y1:.1f}", x2=f"{x2:.1f}", y2=f"{y2:.1f}", class_="rule")


def _text(x: float, y: float, text: str, anchor: str, **more: str) -> Html:
    return tag("text", text, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor, **more)


def _number(value: float) -> str:
    return (
        f"{value:,.0f}"
        if abs(value) >= 1000
        else f"{value:g}"
        if abs(value) >= 0.001 or not value
        else f"{value:.0e}"
    )
