"""Surprisals of heard or read words as events with metadata for MNE-Python.

Events with metadata keep every word as it is. Annotations do not suit words: MNE reads descriptions that begin with
"bad" or "edge" as marks of bad data and of boundaries, and leaves such spans out.
"""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lmkit.corpus.options import DataOptions
from lmkit.corpus.sources import read_rows
from lmkit.errors import DataError, UsageError
from lmkit.evaluation.records import ADDED, Record

if TYPE_CHECKING:
    from pandas import DataFrame

ONSET = "onset"
_TEXT, _OOV = "text", "oov"
_NUMBERS = frozenset({*Record._fields, *ADDED} - {_TEXT, _OOV})
_TRUTHS = {"True": True, "False": False}


def word_events(
    records: "str | Path | DataFrame",
    onsets: "str | Path | DataFrame",
    sfreq: float,
    *,
    first_samp: int = 0,
    code: int = 1,
    word: str = "word",
    onset: str = ONSET,
    normalize: Callable[[str], str] = str.strip,
) -> tuple[np.ndarray, "DataFrame"]:
    """Events (words, 3) int64 and their metadata, a row each, for `mne.Epochs(raw, events, metadata=metadata)`.

    records: what `lmkit surprisal --by word` wrote, for one run, or a DataFrame of it. Records without text, the ends
    of lines, are left out. onsets: a table (.csv, .tsv, .jsonl, .parquet) or a DataFrame with a row for each word, in
    the same order: the columns `word` and `onset`, in seconds from the start of the recording. A word with an empty
    onset has no event. sfreq: samples a second, `raw.info["sfreq"]`. first_samp: `raw.first_samp`, the number of the
    recording's first sample. code: third number of each event. normalize: applied to both words before they are
    compared, such as one that lowers case and drops punctuation.

    The sample of a word is first_samp + onset x sfreq, rounded once to the nearest. The metadata has the columns of
    the records and `onset`.
    Raises DataError where the words differ, with the first row that does, for an onset that is not a number, is
    negative or is before the previous one, and for two words on one sample; UsageError for a sampling frequency that
    is not positive, and for columns that are missing or there twice.
    """
    if not (math.isfinite(sfreq) and sfreq > 0):
        raise UsageError(f"sfreq={sfreq!r}: give the samples a second, raw.info['sfreq']")
    scored = _table(records, "records", own=True)
    times = _table(onsets, "onsets")
    _check_columns(scored, "records", (_TEXT,))
    _check_columns(times, "onsets", (word, onset))
    if ONSET in scored.columns:
        raise UsageError(f"the records have a column '{ONSET}' already; rename it, or leave it out of --keep")
    scored = scored[[bool(_shown(text)) for text in scored[_TEXT]]].reset_index(drop=True)
    _check_words([*map(_shown, scored[_TEXT])], [*map(_shown, times[word])], normalize)
    seconds = np.array([_seconds(value, row) for row, value in enumerate(times[onset], 1)], np.float64)
    heard = np.flatnonzero(~np.isnan(seconds))
    samples = np.rint(seconds[heard] * sfreq).astype(np.int64) + first_samp
    _check_order(seconds, samples, heard, [*map(_shown, times[word])])
    metadata = scored.assign(**{ONSET: seconds}).iloc[heard].reset_index(drop=True)
    events = np.stack([samples, np.zeros_like(samples), np.full_like(samples, code)], 1)
    return events, metadata


def _table(given: "str | Path | DataFrame", what: str, *, own: bool = False) -> "DataFrame":
    """A table as given, or read from a file; own: with the types of lmkit's columns, which TSV lacks."""
    import pandas  # heavy; the library datasets, which lmkit needs, needs it too

    if isinstance(given, pandas.DataFrame):
        return given
    if not isinstance(given, (str, Path)):
        raise UsageError(f"the {what} are a {type(given).__name__}; give a path or a DataFrame")
    rows = [cells for _, cells in read_rows(Path(given), DataOptions())]
    table: Any = pandas.DataFrame.from_records(rows)
    if own:
        for name in table.columns:
            table[name] = [_typed(re.sub(r"_\d+$", "", name), value) for value in table[name]]
    return table


def _typed(name: str, value: object) -> object:
    """A value of a column of lmkit's own, or of one moved by --spillover, that a file holds as text."""
    if not isinstance(value, str) or name not in (*_NUMBERS, _OOV):
        return value
    if name == _OOV:
        return _TRUTHS.get(value)
    if re.fullmatch(r"-?\d+", value):
        return int(value)
    return float(value) if value else math.nan


def _check_columns(table: "DataFrame", what: str, names: tuple[str, ...]) -> None:
    for name in names:
        if name not in table.columns:
            has = ", ".join(map(str, table.columns))
            raise UsageError(f"the {what} have no column '{name}'; they have {has}")


def _shown(value: object) -> str:
    """A word; "" for a missing value."""
    return value if isinstance(value, str) else ""


def _check_words(scored: list[str], timed: list[str], normalize: Callable[[str], str]) -> None:
    """Raise DataError with the first row in which the words differ."""
    for row, (one, other) in enumerate(zip(scored, timed, strict=False), 1):
        if normalize(one) != normalize(other):
            raise DataError(
                f"onsets, row {row}: the word is {other!r}, but word {row} of the records is {one!r}; give onsets "
                "of the same words in the same order, or compare them with normalize="
            )
    if len(scored) != len(timed):
        row = min(len(scored), len(timed)) + 1
        rest = f"onsets, row {row}" if len(timed) > len(scored) else f"records, word {row}"
        extra = (timed if len(timed) > len(scored) else scored)[row - 1]
        raise DataError(
            f"{rest}: {extra!r} has no counterpart ({len(scored)} words in the records, {len(timed)} in the "
            "onsets); give onsets of the same words"
        )


def _seconds(value: Any, row: int) -> float:
    """An onset; NaN for an empty one."""
    if value is None or value == "":
        return math.nan
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = math.inf
    if math.isinf(seconds) or seconds < 0:
        raise DataError(f"onsets, row {row}: the onset is {value!r}, not a number of seconds from 0; fix it")
    return seconds


def _check_order(seconds: np.ndarray, samples: np.ndarray, heard: np.ndarray, words: list[str]) -> None:
    """Raise DataError for a word before the previous one, and for two words on one sample."""
    for place in np.flatnonzero(np.diff(samples) <= 0).tolist():
        before, row = int(heard[place]), int(heard[place + 1])
        if seconds[row] < seconds[before]:
            raise DataError(
                f"onsets, row {row + 1}: {words[row]!r} begins at {seconds[row]:g} s, before the previous word at "
                f"{seconds[before]:g} s; give onsets in the order of time"
            )
        raise DataError(
            f"onsets, rows {before + 1} and {row + 1}: {words[before]!r} and {words[row]!r} fall on the same sample, "
            f"{samples[place]}; give one an empty onset, or use a higher sampling frequency"
        )
