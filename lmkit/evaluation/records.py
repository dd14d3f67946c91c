"""Records of surprisal: their fields and units."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from lmkit.errors import UsageError, suggest

UNITS = ("word", "token", "char", "line", "span", "region")
"""The units of a record."""
OOV = ("model", "spelled")
"""The cost of an unknown token: its probability under the model, or also the code of its spelling."""


class Record(NamedTuple):
    """A unit of a line: its place, its text and its surprisal."""

    line: int
    """The line, from 1 over the whole text."""
    start: int
    end: int
    """Characters [start, end) of the raw row: in a table of the text in the cell, else of the line."""
    text: str
    """The raw text between the two; empty for `</s>`, whose start and end are the end of the line."""
    surprisal: float
    """-log2 p, bits."""
    oov: bool = False
    """Whether the unit has an unknown token."""
    entropy: float | None = None
    """Bits, of the distribution of the unit's first token."""
    rank: int | None = None
    """1 + the number of tokens that are more probable than the unit's first token."""
    row: int = 0
    """The row of the table, or the line of plain text, from 1 over the whole text; skipped ones count."""


OWN_NAMES = ("run", *Record._fields)
"""Names that kept columns of a table cannot have."""


ADDED: Mapping[str, type] = {
    "word": int,
    "entropy_reduction": float,
    "words": int,
    "mean": float,
    "length": int,
    "log_frequency": float,
}
"""Columns that records have on request, in this order, and their types; None where a unit has no value."""


def column_names(*, entropy: bool, rank: bool, more: Iterable[str] = ()) -> tuple[str, ...]:
    """The fields of records, in order. more: further columns, which stand before the row."""
    left_out = {*(() if entropy else ("entropy",)), *(() if rank else ("rank",))}
    *names, row = (name for name in Record._fields if name not in left_out)
    return (*names, *more, row)


def added_names(wanted: Iterable[str]) -> tuple[str, ...]:
    """The wanted columns of ADDED, in order; UsageError for others."""
    given = tuple(wanted)
    for name in given:
        if name not in ADDED:
            raise UsageError(f"--add {name}: no such column; {suggest(name, ADDED)}")
    return tuple(name for name in ADDED if name in given)


@dataclass(frozen=True)
class LineRecords:
    """The records of a line by column, since this is faster to create and write.

    columns: by the names of `Record`, without `line` and `row`, then by those of further columns; lists of one length.
    facts: fields before these that all records of the line share, such as the run's label under "run".
    row: see `Record`. kept: the values of the kept columns of the table, by name.
    """

    line: int
    columns: dict[str, list[Any]]
    facts: Mapping[str, str] = field(default_factory=dict)
    row: int = 0
    kept: Mapping[str, object] = field(default_factory=dict)

    def records(self) -> list[Record]:
        """One by one, without further columns."""
        names = [name for name in Record._fields if name in self.columns]
        return [
            Record(self.line, **dict(zip(names, values, strict=True)), row=self.row)
            for values in zip(*(self.columns[name] for name in names), strict=True)
        ]
