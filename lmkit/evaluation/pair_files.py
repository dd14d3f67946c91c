"""Read minimal pairs from BLiMP's JSON Lines, or any table with a column for each sentence."""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lmkit.corpus.lines import BadLines
from lmkit.corpus.options import DataOptions
from lmkit.corpus.rows import CellError, kind_of, look_up
from lmkit.corpus.sources import is_table, read_rows
from lmkit.errors import DataError, UsageError
from lmkit.notes import NOTE
from lmkit.run_paths import refuse_as_text

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pair:
    """A good and a bad sentence of a paradigm such as "anaphor_gender_agreement"."""

    good: str
    bad: str
    paradigm: str


@dataclass(frozen=True)
class PairFields:
    """The columns of a file of pairs; the defaults are BLiMP's (Warstadt et al., 2020).

    group: the column with the paradigm. None: "UID" if a row has it, else the name of the file.
    """

    good: str = "sentence_good"
    bad: str = "sentence_bad"
    group: str | None = None


UID = "UID"
"""BLiMP's column with the paradigm."""


def read_pairs(
    paths: Iterable[Path], fields: PairFields | None = None, options: DataOptions | None = None
) -> list[Pair]:
    """The pairs of files and of the tables in folders (not below them), in order.

    Raises DataError for a file without pairs and for a row that is not a pair, unless `options.on_bad_line` is
    "skip"; UsageError if a file is given twice.
    """
    fields, options = fields or PairFields(), options or DataOptions()
    files = [file for path in paths for file in _files(path)]
    if twice := [file for file, times in Counter(file.resolve() for file in files).items() if times > 1]:
        raise UsageError(f"{twice[0]} is given twice; give each file once")
    return [
        pair
        for file, name in zip(files, _names(files), strict=True)
        for pair in _pairs_of(file, name, fields, options)
    ]


def _files(path: Path) -> list[Path]:
    refuse_as_text(path)
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.iterdir() if is_table(file) and not file.name.startswith("."))
    if not files:
        raise DataError(
            f"{path}: the folder has no .jsonl, .json, .csv, .tsv or .parquet files; give another folder"
        )
    return files


def _names(files: Sequence[Path]) -> list[str]:
    """The paradigm of each file, from its name; with its folder if another file has the same name."""
    stems = [file.name.partition(".")[0] for file in files]
    return [
        f"{file.absolute().parent.name}/{stem}" if stems.count(stem) > 1 else stem
        for file, stem in zip(files, stems, strict=True)
    ]


def _pairs_of(file: Path, name: str, fields: PairFields, options: DataOptions) -> list[Pair]:
    bad = BadLines(options.on_bad_line)
    pairs = list(_read(file, name, fields, options, bad))
    if bad.count:
        log.log(NOTE, "%s: %s", file, bad.summary())
    if not pairs:
        raise DataError(f"{file}: no readable pairs; {bad.first or 'give another file'}")
    return pairs


def _read(file: Path, name: str, fields: PairFields, options: DataOptions, bad: BadLines) -> Iterator[Pair]:
    for number, cells in read_rows(file, options):
        try:
            good, wrong = _sentence(cells, fields.good, "--good"), _sentence(cells, fields.bad, "--bad")
            group = cells.get(UID) if fields.group is None else look_up(cells, fields.group, "--group")
        except CellError as error:
            bad.report(f"{file}: row {number}", error.problem, error.remedy)
            continue
        yield Pair(good, wrong, name if group in (None, "") else str(group))


def _sentence(cells: dict[str, object], name: str, option: str) -> str:
    value = look_up(cells, name, option)
    if not isinstance(value, str):
        raise CellError(
            f"the field '{name}' is {kind_of(value)}, not a sentence", f"choose another field with {option}"
        )
    if not value.strip():
        raise CellError(f"the field '{name}' is empty", "give a sentence")
    if len(value.splitlines()) > 1:
        raise CellError(f"the sentence in '{name}' contains a line end", "put it on one line")
    return value
