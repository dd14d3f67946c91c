"""Read CSV and TSV files with a header: rows with their line numbers, in bounded memory."""

import csv
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from lmkit.corpus.decoding import Sample, decoded, wrong_bytes
from lmkit.corpus.jsonl import raw_lines
from lmkit.corpus.lines import BadLines
from lmkit.corpus.rows import Row
from lmkit.corpus.tsv import is_own, unescaped
from lmkit.errors import DataError

ROW_LIMIT = 1 << 27
"""Bytes of a row; otherwise, a quote that is never closed would read all of a file into one cell."""

_PROBLEMS = {
    "unexpected end of data": ("a quote is never closed", "close it"),
    "expected after": (
        "a quoted cell continues after its closing quote",
        'write a quote inside a quoted cell twice ("")',
    ),
    "new-line character": ("a carriage return outside of quotes", "remove it or quote the cell"),
    "field larger": ("a quote is not closed within 128 MiB", "close it"),
}
"""The problem and the remedy, by a part of the error of Python's csv."""


@dataclass(frozen=True, slots=True)
class _PhysicalLine:
    raw: bytes
    number: int
    offset: int


@dataclass(frozen=True, slots=True)
class _Record:
    """Cells, or the problem with them. number: of the record's first line."""

    number: int
    cells: list[str]
    where: str = ""
    problem: str = ""
    remedy: str = ""


def read_tsv(blocks: Iterable[bytes], name: str, bad: BadLines, *, offset: int = 0) -> Iterator[Row]:
    """The rows of a TSV file: no quoting; escapes as in `lmkit.corpus.tsv` if lmkit wrote the file."""
    lines = _physical_lines(blocks, offset)
    yield from _rows(_unquoted(lines, name, bad), name, bad, "remove tabs inside cells", unescape=True)


def read_csv(
    blocks: Iterable[bytes], name: str, bad: BadLines, *, delimiter: str = ",", offset: int = 0
) -> Iterator[Row]:
    """The rows of a CSV file, or of the rare TSV file whose cells are quoted as in CSV.

    With `--on-bad-line skip`, reading continues at the line after the one in which a broken row begins.
    """
    what = "comma" if delimiter == "," else "tab"
    lines = _physical_lines(blocks, offset)
    yield from _rows(_quoted(lines, name, bad, delimiter), name, bad, f"quote cells that contain a {what}")


def _physical_lines(blocks: Iterable[bytes], offset: int) -> Iterator[_PhysicalLine]:
    for number, raw in enumerate(raw_lines(blocks), 1):
        yield _PhysicalLine(raw, number, offset)
        offset += len(raw) + 1


def _rows(
    records: Iterable[_Record], name: str, bad: BadLines, remedy: str, *, unescape: bool = False
) -> Iterator[Row]:
    header: list[str] | None = None
    convert: Callable[[str], str] | None = None
    before = bad.row
    for record in records:
        cells = record.cells
        if not cells and not record.problem:  # a blank line: no cells, or the empty cell of a single column
            if header is None or len(header) > 1:
                continue
            cells = [""]
        if header is None:
            header = _header(record, name)
            convert = unescaped if unescape and is_own(header) else None
            continue
        bad.row += 1
        where = f"{name}: line {record.number}, row {bad.row - before}"
        if record.problem:
            bad.report(record.where, record.problem, record.remedy)
        elif len(cells) != len(header):
            problem = f"{_count(len(cells), 'cell')}, but the header has {_count(len(header), 'column')}"
            bad.report(where, problem, remedy)
        else:
            values = map(convert, cells) if convert else cells
            yield Row(bad.row, where, dict(zip(header, values, strict=True)))


def _header(record: _Record, name: str) -> list[str]:
    """The names of the columns; DataError if they cannot be read or are not different."""
    if record.problem:
        raise DataError(f"{record.where}: {record.problem}; {record.remedy}")
    names = record.cells
    twice = next((cell for place, cell in enumerate(names) if cell and cell in names[:place]), None)
    if twice is not None:
        raise DataError(f"{name}: line {record.number}: two columns are named '{twice}'; rename one")
    return names


def _unquoted(lines: Iterable[_PhysicalLine], name: str, bad: BadLines) -> Iterator[_Record]:
    for line in lines:
        text = decoded(line.raw)
        if text is None:
            yield _undecodable(line, line.number, name, bad.sample)
        else:
            text = text.removesuffix("\r")
            yield _Record(line.number, text.split("\t") if text else [])


def _quoted(lines: Iterator[_PhysicalLine], name: str, bad: BadLines, delimiter: str) -> Iterator[_Record]:
    # Python's limit applies to the whole process: it is raised, never lowered.
    csv.field_size_limit(max(csv.field_size_limit(), ROW_LIMIT))
    source = _Source(lines)
    reader = csv.reader(source, delimiter=delimiter, strict=True)
    while True:
        source.begin()
        error = None
        cells: list[str] = []
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as found:
            error = str(found)
        first = source.taken[0].number
        if source.bad is not None:
            yield _undecodable(source.bad, first, name, bad.sample)
        elif error is None:
            yield _Record(first, cells)
        else:
            problem, remedy = _explain(error, delimiter)
            yield _Record(first, [], f"{name}: line {first}", problem, remedy)
        if error is not None:
            source.rewind()


class _Source:
    """Lines for csv.reader; it keeps those of the current record, so that all but the first can be read again."""

    def __init__(self, lines: Iterator[_PhysicalLine]) -> None:
        self._lines = lines
        self._again: deque[_PhysicalLine] = deque()
        self._size = 0
        self.taken: list[_PhysicalLine] = []
        self.bad: _PhysicalLine | None = None
        """The first line of the record that has a NUL or is not UTF-8."""

    def begin(self) -> None:
        """Begin a record."""
        self.taken = []
        self.bad = None
        self._size = 0

    def rewind(self) -> None:
        """Return the lines after the record's first line again."""
        self._again.extendleft(reversed(self.taken[1:]))

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self._size > ROW_LIMIT:
            raise csv.Error("field larger")
        line = self._again.popleft() if self._again else next(self._lines)
        self.taken.append(line)
        self._size += len(line.raw)
        text = decoded(line.raw)
        if text is None:
            self.bad = self.bad or line
            text = line.raw.decode("utf-8", "replace")
        return text + "\n"


def _undecodable(line: _PhysicalLine, number: int, name: str, sample: Sample | None) -> _Record:
    at, problem, remedy = wrong_bytes(line.raw, sample)
    return _Record(number, [], f"{name}: line {line.number} (byte {line.offset + at})", problem, remedy)


def _explain(error: str, delimiter: str) -> tuple[str, str]:
    problem, remedy = next(
        (found for part, found in _PROBLEMS.items() if part in error), (error, "fix the line")
    )
    plain = ", or give --input-format tsv if quotes are ordinary characters" if delimiter == "\t" else ""
    return problem, remedy + plain


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
