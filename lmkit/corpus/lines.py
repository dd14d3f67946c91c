"""From blocks of UTF-8 bytes to lines, in bounded memory however long a line is."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from lmkit.corpus.decoding import Sample, decoded, wrong_bytes
from lmkit.corpus.words import WHITE_SPACE, count_words
from lmkit.errors import DataError

BLOCK = 1 << 20
"""Bytes read at once."""
PIECE = 1 << 20
"""The most bytes of a line that are handed on at once: a longer line arrives in pieces."""

Locate = Callable[[int, int], str]
"""Says where a problem is, from a line number (from 1) and a byte offset (from 0)."""

_GAPS = WHITE_SPACE.encode()


@dataclass(frozen=True, slots=True)
class Line:
    """A line of text, or a piece of a very long one.

    text: without its line end. num_bytes: its UTF-8 bytes, without the line end and any byte-order mark.
    num_words: words between white space (`lmkit.corpus.words`); a word that is cut by the end of a piece counts
    in the first one.
    starts_document: a document begins here. continues: the line goes on in the next Line.
    row: the row of the table that the line is in, or the line of plain text, from 1 over everything that is
    read; rows that are skipped count.
    ending: the line end that follows within a cell of a table; "" at the cell's end, and in plain text.
    kept: the row's values of the columns that the Text keeps.
    """

    text: str
    num_bytes: int
    num_words: int
    starts_document: bool
    continues: bool
    row: int = field(default=0, compare=False)
    ending: str = ""
    kept: tuple[object, ...] = ()


@dataclass(frozen=True, slots=True)
class LineBlock:
    """Whole lines of moderate length in one piece, for whoever works on bytes faster than on Lines.

    raw: their UTF-8 without line ends, joined by "\\n"; b"" is one blank line. No NUL is in it.
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
    """Lines alone."""
    for part in parts:
        if isinstance(part, Line):
            yield part
        else:
            yield from part.lines()


class BadLines:
    """What becomes of lines and rows that cannot be read: an error, or a count. It counts all rows too."""

    def __init__(self, policy: str) -> None:
        self.skip = policy == "skip"
        self.row = 0
        """The row being read, from 1 over everything that is read, those that are skipped included."""
        self.sample: Sample | None = None
        """Gives bytes of the text being read, to tell its encoding from; for text whose lines are bytes of a file."""
        self.count = 0
        self.first = ""
        """What was wrong with the first one."""

    def report(self, where: str, problem: str, remedy: str) -> None:
        """Count a line that is skipped, or raise DataError."""
        if not self.skip:
            raise DataError(f"{where}: {problem}; {remedy}, or --on-bad-line skip to leave such lines out")
        self.first = self.first or f"{where}: {problem}"
        self.count += 1

    def summary(self) -> str:
        """How many were skipped, and the first of them."""
        return f"{self.count} bad lines skipped; the first: {self.first}"


class LineReader:
    """The lines of one document.

    Lines end at "\\n" alone, and one "\\r" before it goes with it; a last line needs no end. Whatever the
    sizes of the blocks, the same bytes give the same lines and pieces. Of a bad line that is skipped while it
    comes in pieces, the good pieces have been handed on already: only the bad ones are left out.
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
        """The same lines; those that are whole, short and sound come in blocks."""
        pending = b""
        for block in blocks:
            end = block.rfind(b"\n")
            if end < 0:
                pending += block
            else:
                yield from self._complete(pending + block[:end])
                pending = block[end + 1 :]
            # A "\r" at the very end may yet turn out to belong to the line's end.
            while len(pending) - pending.endswith(b"\r") > PIECE:
                cut = _cut(pending)
                yield from self._piece(pending[:cut], continues=True)
                pending = pending[cut:]
        if pending:
            yield from self._complete(pending)

    def _complete(self, chunk: bytes) -> Iterator[Line | LineBlock]:
        """Lines that are all there, between line ends."""
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
        """The slow way, for a line that is long or may be bad."""
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
    """Whether a line between line ends is longer than PIECE; most lines are never looked at."""
    start = 0
    while len(chunk) - start > PIECE:
        # The lines up to the last end that is near enough are short together.
        start = chunk.rfind(b"\n", start, start + PIECE + 1) + 1
        if not start:
            return True
    return False


def _cut(raw: bytes) -> int:
    """Where a piece ends: after its last white space, else at the limit, but never inside a character."""
    end = PIECE
    while end > PIECE - 4 and raw[end] & 0xC0 == 0x80:
        end -= 1
    return max(raw.rfind(gap, 0, end) for gap in _GAPS) + 1 or end
