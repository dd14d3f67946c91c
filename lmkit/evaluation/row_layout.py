"""Make the lines to score from rows of a table: several rows as one sentence, and text that only conditions."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from lmkit.corpus.lines import Line, Part
from lmkit.corpus.rows import kind_of
from lmkit.corpus.word_lists import joined, separators
from lmkit.corpus.words import WHITE_SPACE, count_words
from lmkit.errors import DataError, UsageError


@dataclass(frozen=True)
class RowLayout:
    """Which rows of a text make a line, and what stands before them.

    keep: the columns that records carry. sentence: the columns that identify a sentence: consecutive rows with the
    same values in them are its regions, in order; empty if each row stands by itself. prefix: text before each row
    or sentence, which conditions it and is not scored; prefix_field: the column with that text, of a sentence in its
    first row. separator: the string between regions and after a prefix; None: a space, or nothing next to white space
    or a script without spaces (`word_lists.separators`).
    """

    keep: tuple[str, ...] = ()
    sentence: tuple[str, ...] = ()
    prefix: str = ""
    prefix_field: str | None = None
    separator: str | None = None

    def __post_init__(self) -> None:
        if self.prefix and self.prefix_field is not None:
            raise UsageError("--prefix and --prefix-field both give the text before a row; leave one out")

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that lines need: `Text(paths, options, keep=layout.columns)`."""
        wanted = (*self.keep, *self.sentence, *([] if self.prefix_field is None else [self.prefix_field]))
        return tuple(dict.fromkeys(wanted))

    @property
    def has_prefix(self) -> bool:
        """Whether lines may have a prefix."""
        return bool(self.prefix) or self.prefix_field is not None

    def lines(self, text: Iterable[Line]) -> Iterator[Line]:
        """The lines to score, which keep the columns `keep`, from those of a text, which keep `columns`.

        The line ends within a region or a prefix become spaces. Raises DataError for a sentence whose rows are not
        together, and for a prefix that is not text.
        """
        if not self.sentence and not self.has_prefix:
            yield from text
            return
        rows = (list(lines) for _, lines in groupby(text, key=lambda line: line.row))
        if not self.sentence:
            for lines in rows:
                yield self._prefixed(lines[0], self._prefix_of(lines[0]))
                yield from (replace(line, kept=self._kept(line)) for line in lines[1:])
            return
        begun: dict[str, int] = {}
        for key, regions in groupby(rows, key=self._sentence_of):
            found = list(regions)
            first = found[0][0]
            if key in begun:
                raise DataError(
                    f"row {first.row}: the sentence with {key} began in row {begun[key]}, and other rows are in "
                    "between; put its rows together, or add a column to --sentence"
                )
            begun[key] = first.row
            yield self._prefixed(self._joined(found), self._prefix_of(first))

    def _sentence_of(self, row: Sequence[Line]) -> str:
        """The values that identify the sentence of a row, as in "item 1, condition 'a'"."""
        values = self._values(row[0], self.sentence)
        return ", ".join(f"{name} {value!r}" for name, value in zip(self.sentence, values, strict=True))

    def _joined(self, rows: Sequence[Sequence[Line]]) -> Line:
        """A line of rows, with the row and the kept values of the first."""
        cells = ["".join(line.text + " " * len(line.ending) for line in lines) for lines in rows]
        text, spans = join(cells, self.separator)
        firsts = [lines[0] for lines in rows]
        parts = tuple(
            Part(start, end, line.row, self._kept(line))
            for (start, end), line in zip(spans, firsts, strict=True)
        )
        return _line(replace(firsts[0], continues=False, ending=""), text, parts=parts)

    def _prefixed(self, line: Line, prefix: str) -> Line:
        """The line after its prefix, with the columns that records carry."""
        kept = self._kept(line)
        if not prefix.strip(WHITE_SPACE):
            return replace(line, kept=kept)
        if line.text:
            text, ((_, _), (size, _)) = join([prefix, line.text], self.separator)
        else:
            text, size = prefix, len(prefix)
        parts = tuple(replace(part, start=part.start + size, end=part.end + size) for part in line.parts)
        return replace(_line(line, text, parts=parts), kept=kept, prefix=size)

    def _prefix_of(self, line: Line) -> str:
        """The text before a row."""
        value = self.prefix
        if self.prefix_field is not None:
            (value,) = self._values(line, (self.prefix_field,))
        if value is not None and not isinstance(value, str):
            raise DataError(
                f"row {line.row}: the prefix in '{self.prefix_field}' is {kind_of(value)}, not a string; "
                "choose another column with --prefix-field"
            )
        return " ".join((value or "").splitlines())

    def _values(self, line: Line, names: Sequence[str]) -> tuple[object, ...]:
        places = {name: place for place, name in enumerate(self.columns)}
        return tuple(line.kept[places[name]] for name in names)

    def _kept(self, line: Line) -> tuple[object, ...]:
        return line.kept[: len(dict.fromkeys(self.keep))]


def sentence_of(regions: Sequence[str], row: int = 1) -> Line:
    """The line of a sentence's regions, without a table; their rows are counted from `row`.

    `surprisals(..., by="region")` gives a record for each.
    """
    text, spans = join([" ".join(region.splitlines()) for region in regions])
    parts = tuple(Part(start, end, number) for number, (start, end) in enumerate(spans, row))
    return _line(Line("", 0, 0, True, False, row), text, parts=parts)


def join(cells: Sequence[str], separator: str | None = None) -> tuple[str, list[tuple[int, int]]]:
    """The text of regions, and the characters [start, end) of each.

    separator: as in `RowLayout`; there is none beside an empty region, nor beside white space if it is None.
    """
    filled = [cell for cell in cells if cell]
    between = separators(filled) if separator is None else [separator] * (len(filled) - 1)
    if separator is None:
        pairs = zip(filled, between, filled[1:], strict=False)
        between = [
            "" if left[-1] in WHITE_SPACE or right[0] in WHITE_SPACE else gap for left, gap, right in pairs
        ]
    gaps = iter(between)
    after = [next(gaps, "") if cell else "" for cell in cells]  # the last gap of the filled ones is ""
    return joined(cells, after[: len(cells) - 1])


def _line(first: Line, text: str, *, parts: tuple[Part, ...]) -> Line:
    """A whole line with this text, in the place of `first`."""
    raw = text.encode()
    return Line(
        text, len(raw), count_words(raw), first.starts_document, first.continues, first.row, first.ending,
        first.kept, parts=parts,
    )  # fmt: skip
