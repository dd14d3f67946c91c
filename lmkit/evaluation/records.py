"""Records of surprisal: what stands in each, and for which units."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

UNITS = ("word", "token", "char", "line", "span")
"""What a record may be of."""
OOV = ("model", "spelled")
"""What an unknown token costs: the model's probability of one, or the code of its spelling as well."""


class Record(NamedTuple):
    """A unit of a line: its place, its text and how surprising it was."""

    line: int
    """From 1, over all lines that were read."""
    start: int
    end: int
    """Characters [start, end) of the raw row: of a table the text in the cell, else the line."""
    text: str
    """The raw text between the two; empty for `</s>`, whose start and end are the end of the line."""
    surprisal: float
    """-log2 p, bits."""
    oov: bool = False
    """Whether an unknown token is among the unit's."""
    entropy: float | None = None
    """Bits, of the distribution of the unit's first token."""
    rank: int | None = None
    """1 + how many tokens were more likely than the unit's first token."""
    row: int = 0
    """The row of the table, or the line of plain text, from 1 over all that is read; skipped ones count too."""


OWN_NAMES = ("run", *Record._fields)
"""Names that columns of a table cannot have where they are kept."""


def column_names(*, entropy: bool, rank: bool) -> tuple[str, ...]:
    """The fields that records have, in order."""
    left_out = {*(() if entropy else ("entropy",)), *(() if rank else ("rank",))}
    return tuple(name for name in Record._fields if name not in left_out)


@dataclass(frozen=True)
class LineRecords:
    """The records of a line by column, since that is how they are made and written fast.

    columns: by the names of `Record`, without `line` and `row`; lists of one length.
    facts: what all records of the line have before these, such as the run's label under "run".
    row: see `Record`. kept: the values of the columns of the table that are kept, by name.
    """

    line: int
    columns: dict[str, list[Any]]
    facts: Mapping[str, str] = field(default_factory=dict)
    row: int = 0
    kept: Mapping[str, object] = field(default_factory=dict)

    def records(self) -> list[Record]:
        """One by one."""
        names = list(self.columns)
        return [
            Record(self.line, **dict(zip(names, values, strict=True)), row=self.row)
            for values in zip(*self.columns.values(), strict=True)
        ]
