"""Components of pages: tables that screen readers can read, bars, and words coloured by a value."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lmkit.html.markup import Html, joined, tag

FOR, AGAINST = "213, 94, 0", "0, 114, 178"
"""Orange-red and blue of Okabe and Ito (2008), which colour-blind readers can tell apart."""
STRONGEST = 0.65
"""Opacity of the full colour: text on it stays readable on white and on black."""
LONG = 8
"""Characters of a text up to which it is not wrapped; columns of longer ones stay wide enough for words."""


@dataclass(frozen=True)
class Word:
    """A word of a line and its colour.

    strength: -1 (blue) to 1 (red). title: shown over the word. space: the white space after it. marked: underlined
    and bold instead of coloured, such as an answer.
    """

    text: str
    strength: float = 0.0
    title: str = ""
    space: str = " "
    marked: bool = False


def coloured(words: Iterable[Word]) -> Html:
    """A line of coloured words. Colours say nothing to some readers: give the values in a table too."""
    parts: list[str] = []
    for word in words:
        if word.marked:
            parts.append(tag("b", word.text))
        else:
            strength = 0.0 if math.isnan(word.strength) else max(-1.0, min(1.0, word.strength))
            colour = f"rgba({FOR if strength > 0 else AGAINST}, {STRONGEST * abs(strength):.2f})"
            style = f"background: {colour}" if abs(strength) >= 0.01 else None
            parts.append(tag("span", word.text, style=style, title=word.title or None))
        parts.append(word.space)
    return tag("p", *parts, class_="words", dir="auto")


def table(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    caption: str,
    left: int = 1,
    shows_caption: bool = False,
) -> Html:
    """A table whose first column names the rows.

    caption: for screen readers, and for all with shows_caption. left: the number of columns of text; those after them
    are numbers, aligned to the right. Cells may be markup, such as a `bar`.
    """
    rows = [list(row) for row in rows]
    kinds = [_kind([row[place] for row in rows], place < left) for place in range(len(header))]
    head = tag(
        "tr", *(tag("th", cell, scope="col", class_=kind) for cell, kind in zip(header, kinds, strict=True))
    )
    body = [
        tag(
            "tr",
            *(
                tag(
                    "th" if place == 0 else "td",
                    cell,
                    scope="row" if place == 0 else None,
                    class_=kinds[place],
                )
                for place, cell in enumerate(row)
            ),
        )
        for row in rows
    ]
    inner = tag(
        "table",
        tag("caption", caption, class_=None if shows_caption else "unseen"),
        tag("thead", head),
        tag("tbody", *body),
    )
    return scroller(inner, caption)


def _kind(cells: Sequence[str], is_text: bool) -> str | None:
    """The class of a column."""
    if not is_text:
        return None
    return "text long" if any(len(cell) > LONG for cell in cells) else "text"


def scroller(inner: str, label: str) -> Html:
    """A part that scrolls by itself if it is wide, with the keyboard too. label: a name that no other part has."""
    return tag("div", inner, class_="wide", tabindex=0, role="region", aria_label=label)


def bar(share: float, text: str) -> Html:
    """A cell with a bar of `share`, from 0 to 1, of its width, and the number as text."""
    share = 0.0 if math.isnan(share) else max(0.0, min(1.0, share))
    filled = tag("span", style=f"width: {100 * share:.1f}%")
    number = tag("span", text, class_="number")
    return joined([tag("span", filled, class_="bar", aria_hidden="true"), " ", number])


def note(text: str) -> Html:
    """A paragraph in small type."""
    return tag("p", text, class_="note")


def details(summary: str, *parts: str) -> Html:
    """Parts that appear on a click."""
    return tag("details", tag("summary", summary), *parts)


def section(title: str, *parts: str) -> Html:
    """Parts under a heading."""
    return tag("section", tag("h2", title), *parts)
