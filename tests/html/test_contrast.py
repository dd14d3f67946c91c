"""Colours of reports and of the page contrast with their backgrounds, dark and light (WCAG 2.2, 1.4.3 and 1.4.11)."""

import re
from pathlib import Path

import pytest

from lmkit.html.chart import COLOURS
from lmkit.html.page import PAGE_STYLE, STYLE
from lmkit.html.parts import AGAINST, FOR, STRONGEST

Colour = tuple[float, float, float]
PAGE = Path(__file__).parents[2] / "lmkit" / "serve" / "page"
STYLES = {"page": (PAGE / "style.css").read_text(encoding="utf-8"), "report": PAGE_STYLE}
THEMES = ("light", "dark")
TEXT, GRAPHICS = 4.5, 3.0
"""The least contrast of a text, and of an edge, a line or a bar."""


def palette(style: str, theme: str) -> dict[str, Colour]:
    """The colours of a style sheet by the name before them: "--ink", "background"."""
    found = re.findall(r"([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", style)
    return {name: rgb((light, dark)[THEMES.index(theme)]) for name, light, dark in found}


def rgb(text: str) -> Colour:
    """The shares of red, green and blue of "#rrggbb" or "255, 0, 0"."""
    values = [int(part, 16) for part in re.findall(r"\w\w", text)] if text[0] == "#" else text.split(",")
    red, green, blue = (int(value) / 255 for value in values)
    return red, green, blue


def over(front: Colour, back: Colour, opacity: float) -> Colour:
    """A translucent colour on another."""
    red, green, blue = (opacity * a + (1 - opacity) * b for a, b in zip(front, back, strict=True))
    return red, green, blue


def contrast(one: Colour, other: Colour) -> float:
    """The ratio of WCAG 2.2, from 1 to 21."""
    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


def luminance(colour: Colour) -> float:
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_contrast_of_known_colours() -> None:
    """Black on white has the greatest contrast, and #767676 on white just the least for a text."""
    assert contrast(rgb("#000000"), rgb("#ffffff")) == pytest.approx(21)
    assert contrast(rgb("#767676"), rgb("#ffffff")) == pytest.approx(4.54, abs=0.005)


@pytest.mark.parametrize("theme", THEMES)
def test_the_page(theme: str) -> None:
    """Texts, edges of fields, bars and lines, on the page and on its cards; words on the strongest colours."""
    colours = palette(STYLES["page"], theme)
    for back in (colours["--paper"], colours["--card"]):
        for name in ("--ink", "--faint", "--warn", "--accent"):
            assert contrast(colours[name], back) >= TEXT, name
        for name in ("--edge", "--bar"):
            assert contrast(colours[name], back) >= GRAPHICS, name
        for colour in (FOR, AGAINST):
            assert contrast(colours["--ink"], over(rgb(colour), back, STRONGEST)) >= TEXT
    for colour in COLOURS:
        assert contrast(rgb(colour), colours["--paper"]) >= GRAPHICS, colour
    assert contrast(colours["--on-accent"], colours["--accent"]) >= TEXT


@pytest.mark.parametrize("theme", THEMES)
def test_reports(theme: str) -> None:
    """The same for reports, whose notes are translucent, and whose rows are striped."""
    found = palette(STYLES["report"], theme)
    ink, paper = found["color"], found["background"]
    stripe = over((0.5, 0.5, 0.5), paper, 0.08)
    opacity = float(re.findall(r"opacity: (\S+);", STYLE)[0])
    assert contrast(over(ink, paper, opacity), paper) >= TEXT
    assert contrast(ink, stripe) >= TEXT
    (bar,) = re.findall(r"\.bar span \{.*rgb\((.*?)\)", STYLE)
    assert contrast(rgb(bar), stripe) >= GRAPHICS
    for colour in (FOR, AGAINST):
        assert contrast(ink, over(rgb(colour), paper, STRONGEST)) >= TEXT
    for colour in COLOURS:
        assert contrast(rgb(colour), paper) >= GRAPHICS, colour


def test_the_page_has_the_colours_of_reports() -> None:
    """Models and words have the same colours in both."""
    scripts = "".join(path.read_text(encoding="utf-8") for path in PAGE.glob("*.js"))
    for colour in (*COLOURS, FOR, AGAINST, f"STRONGEST = {STRONGEST};"):
        assert colour in scripts, colour
