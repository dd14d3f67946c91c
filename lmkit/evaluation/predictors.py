"""Add columns for regressions to records of surprisal: sizes, word frequencies and values of previous words."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lmkit.corpus.words import count_words
from lmkit.errors import UsageError
from lmkit.evaluation.frequencies import WordFrequencies
from lmkit.evaluation.records import ADDED, LineRecords, added_names

OF_UNITS = ("word", "entropy_reduction")
"""The columns of ADDED that `surprisal.surprisals` adds itself."""
_MEASURED: Mapping[str, type] = {
    "surprisal": float,
    "oov": bool,
    "entropy": float,
    "rank": int,
    **{name: kind for name, kind in ADDED.items() if name != "word"},
}
"""The columns that have values of previous words, and their types."""


def column_types(add: Iterable[str], spillover: int, *, entropy: bool, rank: bool) -> dict[str, type]:
    """The names of the columns of `Predictors`, in order, and their types.

    entropy, rank: whether records have these, which then have previous values too.
    """
    added = {name: ADDED[name] for name in added_names(add)}
    given = {"surprisal", "oov", *added, *(["entropy"] if entropy else []), *(["rank"] if rank else [])}
    previous = {
        f"{name}_{back}": kind
        for name, kind in _MEASURED.items()
        if name in given
        for back in range(1, spillover + 1)
    }
    return {**added, **previous}


@dataclass(frozen=True)
class Predictors:
    """The columns to add, in order.

    add: names of ADDED. frequencies: for "log_frequency". spillover: for this many previous records of the row, or
    of the sentence in several rows, the measured columns too: surprisal_1 of the last one, surprisal_2 ...; records
    without text (`</s>`, empty regions) are passed over.
    """

    add: tuple[str, ...] = ()
    frequencies: WordFrequencies | None = None
    spillover: int = 0

    def __post_init__(self) -> None:
        added_names(self.add)
        if "log_frequency" in self.add and self.frequencies is None:
            raise UsageError("log_frequency needs word frequencies; give --frequencies TEXT")

    @property
    def of_units(self) -> tuple[str, ...]:
        """The argument `add` of `surprisals`."""
        return tuple(name for name in added_names(self.add) if name in OF_UNITS)

    def columns(self, lines: Iterable[LineRecords], names: Sequence[str]) -> Iterator[LineRecords]:
        """The same records with the columns, all in the order of `names`, which are those of a file's header."""
        if not self.add and not self.spillover:
            yield from lines
            return
        history: deque[dict[str, Any]] = deque(maxlen=max(self.spillover, 1))
        row = line = 0
        for records in lines:
            columns = {**records.columns, **self._sizes(records.columns)}
            if records.row != row and records.line != line:
                history.clear()
            row, line = records.row, records.line
            if self.spillover:
                columns |= self._previous(columns, history)
            yield replace(records, columns={name: columns[name] for name in names if name in columns})

    def _sizes(self, columns: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
        """The columns that depend on the text of each record only, and the mean."""
        texts = columns["text"]
        found: dict[str, list[Any]] = {}
        if "words" in self.add or "mean" in self.add:
            words = [count_words(text.encode("utf-8", "surrogatepass")) for text in texts]
            means = zip(columns["surprisal"], words, strict=True)
            found["words"] = words
            found["mean"] = [bits / number if number else None for bits, number in means]
        if "length" in self.add:
            found["length"] = [len(text) or None for text in texts]
        if "log_frequency" in self.add:
            assert self.frequencies is not None
            found["log_frequency"] = [self.frequencies.log2(text) if text else None for text in texts]
        return found

    def _previous(
        self, columns: Mapping[str, list[Any]], history: deque[dict[str, Any]]
    ) -> dict[str, list[Any]]:
        """The values of previous records; history: those before these, the last first, which it extends."""
        names = [name for name in _MEASURED if name in columns]
        found: dict[str, list[Any]] = {
            f"{name}_{back}": [] for name in names for back in range(1, self.spillover + 1)
        }
        for place, text in enumerate(columns["text"]):
            for name in names:
                for back in range(1, self.spillover + 1):
                    value = history[back - 1][name] if back <= len(history) else None
                    found[f"{name}_{back}"].append(value)
            if text:
                history.appendleft({name: columns[name][place] for name in names})
        return found
