"""Split blocks of UTF-8 bytes into lines, in bounded memory for lines of any length."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from lmkit.corpus.decoding import Sample, decoded, wrong_bytes
from lmkit.corpus.words import WHITE_SPACE, count_words
from lmkit.errors import DataError

BLOCK = 1 << 20
"""Bytes per read."""
PIECE = 1 << 20
"""Maximum number of bytes of a piece: a longer line arrives in several pieces."""

Locate = Callable[[int, int], str]
"""Describes a place, given a line number (from 1) and a byte offset (from 0)."""

_GAPS = WHITE_SPACE.encode()


@dataclass(frozen=True, slots=True)
class Part:
    """A row of a table as a part of a line that several rows make: its characters [start, end) of the line.

    row, kept: as in Line.
    """

    start: int
    end: int
    row: int
    kept: tuple[object, ...] = ()


@dataclass(frozen=True, slots=True)
class Line:
    """A line of text, or a piece of a very long one.

    text: without its line end. num_bytes: its UTF-8 bytes, without the line end and any byte-order mark.
    num_words: words between white space (`lmkit.corpus.words`); a word split between two pieces counts in
    the first one.
    starts_document: a document begins here. continues: the line continues in the next Line.
    row: the number of the table row or plain-text line, from 1 over the whole text; skipped rows count.
    ending: the line end that follows within a cell of a table; "" at the cell's end, and in plain text.
    kept: the row's values in the columns that the Text keeps.
    answer: the characters [start, end) of `text` that the distance task asks for; None in other texts.
    prefix: the number of characters at the beginning that only condition the others, and have no surprisal.
    parts: the rows that make the line, in order; empty if it is of one row.
    """

    text: str
    num_bytes: int
    num_words: int
    starts_document: bool
    continues: bool
    row: int = field(default=0, compare=False)
    ending: str = ""
    kept: tuple[object, ...] = ()
    answer: tuple[int, int] | None = None
    prefix: int = 0
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class LineBlock:
    """Whole lines of moderate length as bytes, for code that is faster on bytes than on Lines.

    raw: their UTF-8 without line ends, joined by "\\n"; b"" is one blank line. It has no NUL.
    starts_document: a document begins with its first line. row: the first line's.
    """

    raw: bytes
    starts_document: bool
    row: int = field(default=0, compare=False)

    @property
    def has_words(self) -> bool:
        return bool(self.raw.strip(_GAPS))

    def lines(self) -> Iterator[Line]:
        """The same lines one by one."""
        starts = self.starts_document
        pairs = zip(self.raw.split(b"\n"), self.raw.decode().split("\n"), strict=True)
        for row, (raw, text) in enumerate(pairs, self.row):
            yield Line(text, len(raw), count_words(raw), starts, False, row)
            starts = False


def expanded(parts: Iterable[Line | LineBlock]) -> Iterator[Line]:
    """Split all blocks into Lines."""
    for part in parts:
        if isinstance(part, Line):
            yield part
        else:
            yield from part.lines()


class BadLines:
    """Raise an error for unreadable lines and rows, or count them. It also counts all rows."""

    def __init__(self, policy: str) -> None:
        self.skip = policy == "skip"
        self.row = 0
        """The current row, from 1 over the whole text, including skipped ones."""
        self.sample: Sample | None = None
        """Returns bytes of the current text to detect its encoding; only if its lines are bytes of a file."""
        self.count = 0
        self.first = ""
        """The problem with the first one."""

    def report(self, where: str, problem: str, remedy: str) -> None:
        """Count a skipped line, or raise DataError."""
        if not self.skip:
            raise DataError(f"{where}: {problem}; {remedy}, or --on-bad-line skip to skip such lines")
        self.first = self.first or f"{where}: {problem}"
        self.count += 1

    def summary(self) -> str:
        """The number of skipped ones, and the first of them."""
        return f"{self.count} bad lines skipped; the first: {self.first}"


class LineReader:
    """The lines of one document.

    Only "\\n" ends lines, with one optional "\\r" before it; the last line needs no end. The same bytes give the
    same lines and pieces, whatever the sizes of the blocks. If a line in several pieces is bad, only its bad
    pieces are skipped, since earlier ones have been returned already.
    """

    def __init__(self, locate: Locate, bad: BadLines, *, offset: int = 0) -> None:
        self._locate = locate
        self._bad = bad
        self._offset = offset
        self._number = 1
        self._starts = True
        self._inside = False
        """Whether the last Line continues."""
        self._open_word = False
        """Whether the last piece ended within a word."""

    def read(self, blocks: Iterable[bytes]) -> Iterator[Line]:
        return expanded(self.read_blocks(blocks))

    def read_blocks(self, blocks: Iterable[bytes]) -> Iterator[Line | LineBlock]:
        """The same lines; whole, short and valid ones come in blocks."""
        pending = b""
        for block in blocks:
            end = block.rfind(b"\n")
            if end < 0:
                pending += block
            else:
                yield from self._complete(pending + block[:end])
                pending = block[end + 1 :]
            # A "\r" at the very end may belong to the line's end.
            while len(pending) - pending.endswith(b"\r") > PIECE:
                cut = _cut(pending)
                yield from self._piece(pending[:cut], continues=True)
                pending = pending[cut:]
        if pending:
            yield from self._complete(pending)

    def _complete(self, chunk: bytes) -> Iterator[Line | LineBlock]:
        """Complete lines, between line ends."""
        if self._inside or _has_long_line(chunk) or decoded(chunk) is None:
            for raw in chunk.split(b"\n"):
                yield from self._one(raw)
            return
        raw = chunk.replace(b"\r\n", b"\n").removesuffix(b"\r") if b"\r" in chunk else chunk
        lines = chunk.count(b"\n") + 1
        yield LineBlock(raw, self._starts, self._bad.row + 1)
        self._bad.row += lines
        self._starts = False
        self._number += lines
        self._offset += len(chunk) + 1

    def _one(self, raw: bytes) -> Iterator[Line]:
        """The slow path, for a line that is long or may be bad."""
        line_end = 2 if raw.endswith(b"\r") else 1
        raw = raw.removesuffix(b"\r")
        while len(raw) > PIECE:
            cut = _cut(raw)
            yield from self._piece(raw[:cut], continues=True)
            raw = raw[cut:]
        yield from self._piece(raw, continues=False)
        self._number += 1
        self._offset += line_end

    def _piece(self, raw: bytes, *, continues: bool) -> Iterator[Line]:
        if not self._inside:
            self._bad.row += 1
        text = decoded(raw)
        if text is None:
            where, problem, remedy = wrong_bytes(raw, self._bad.sample)
            self._bad.report(self._locate(self._number, self._offset + where), problem, remedy)
        self._offset += len(raw)
        in_pieces = self._inside or continues
        if text is not None:
            yield Line(text, len(raw), self._words(raw), self._starts, continues, self._bad.row)
        elif in_pieces:
            yield Line("", 0, 0, self._starts, continues, self._bad.row)
        self._starts = self._starts and text is None and not in_pieces
        self._inside = continues
        self._open_word = self._open_word and continues

    def _words(self, raw: bytes) -> int:
        goes_on = self._open_word and raw and raw[0] not in _GAPS
        self._open_word = bool(raw) and raw[-1] not in _GAPS
        return count_words(raw) - bool(goes_on)


def _has_long_line(chunk: bytes) -> bool:
    """Whether a line between line ends is longer than PIECE; most lines are never checked one by one."""
    start = 0
    while len(chunk) - start > PIECE:
        # All lines up to the last line end within this distance are short.
        start = chunk.rfind(b"\n", start, start + PIECE + 1) + 1
        if not start:
            return True
    return False


def _cut(raw: bytes) -> int:
    """The end of a piece: after its last white space, else at the limit, but never inside a character."""
    end = PIECE
    while end > PIECE - 4 and raw[end] & 0xC0 == 0x80:
        end -= 1
    return max(raw.rfind(gap, 0, end) for gap in _GAPS) + 1 or end
