"""A list of records of surprisal that shows itself as coloured text in notebooks and pages."""

import math
from collections.abc import Iterator
from itertools import groupby, pairwise

from lmkit.evaluation.records import Record
from lmkit.html import Html, Word, coloured, details, fragment, note, table

MOST_SHOWN = 5000
"""Records on a page; more would make browsers slow."""


class Records(list[Record]):
    """Records in the order of the text."""

    def html(self, label: str = "") -> list[Html]:
        """The text, coloured by surprisal, and a table of the first MOST_SHOWN records. label: of the run."""
        shown = self[:MOST_SHOWN]
        most = max((one.surprisal for one in shown if math.isfinite(one.surprisal)), default=0.0) or 1.0
        legend = f"The strongest red means {most:.1f} bits."
        if len(self) > len(shown):
            legend += f" Only the first {MOST_SHOWN:,} units are shown."
        lines = [coloured(_words(list(line), most)) for _, line in groupby(shown, lambda one: one.line)]
        caption = "Surprisal of each unit of the text"
        numbers = _table(shown, f"{label}: {caption}" if label else caption)
        return [*lines, note(legend), details("The numbers", numbers)]

    def _repr_html_(self) -> str:
        return fragment(*self.html())


def _words(line: list[Record], most: float) -> Iterator[Word]:
    """The words of a line; its end is shown as a sign."""
    for one, after in [*pairwise(line), (line[-1], None)]:
        gap = "" if after is None or after.start <= one.end else " "
        text = one.text or "⏎"
        title = f"{one.surprisal:.2f} bits" + (", outside the vocabulary" if one.oov else "")
        yield Word(text, one.surprisal / most, title, gap)


def _table(shown: list[Record], caption: str) -> Html:
    header = ["text", "bits"]
    columns = [[one.text or "end of line" for one in shown], [f"{one.surprisal:.2f}" for one in shown]]
    for name in ("entropy", "rank"):
        values = [getattr(one, name) for one in shown]
        if any(value is not None for value in values):
            header.append(name)
            form = ".2f" if name == "entropy" else "d"
            columns.append(["" if value is None else format(value, form) for value in values])
    if any(one.oov for one in shown):
        header.append("unknown")
        columns.append(["yes" if one.oov else "" for one in shown])
    return table(header, zip(*columns, strict=True), caption=caption)
