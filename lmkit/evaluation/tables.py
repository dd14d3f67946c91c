"""Tables of figures for people, which commands print and pages show."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lmkit.html import Html, note, table


@dataclass(frozen=True)
class Table:
    """Titles and rows of text. left: the number of columns of text, before those of numbers. note: a line below."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int = 1
    note: str = ""

    def html(self, caption: str, *, cells: Iterable[Sequence[str]] | None = None) -> tuple[Html, ...]:
        """The table as HTML, then its note. cells: other rows, which may be markup."""
        rows = self.rows if cells is None else cells
        parts = (table(self.header, rows, caption=caption, left=self.left),)
        return (*parts, note(self.note)) if self.note else parts
