"""From blocks of UTF-8 bytes to lines, in bounded memory however long a line is."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from lmkit.corpus.decoding import wrong_bytes
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
    """

    text: str
    num_bytes: int
    num_words: int
    starts_document: bool
    continues: bool


class BadLines:
    """What happens to lines that cannot be read: an error, or a count."""

    def __init__(self, policy: str) -> None:
        self.skip = policy == "skip"
        self.count = 0
        self.first = ""
        """What was wrong with the first one."""

    def report(self, where: str, problem: str, remedy: str) -> None:
        """Count a line that is skipped, or raise DataError."""
        if not self.skip:
            raise DataError(f"{where}: {problem}; {remedy}, or --on-bad-line skip to leave such lines out")
        self.first = self.first or f"{where}: {problem}"
        self.count += 1


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

    def _complete(self, chunk: bytes) -> Iterator[Line]:
        """Lines that are all there, between line ends."""
        raws = chunk.split(b"\n")
        texts = None if self._inside or max(map(len, raws)) > PIECE else _decoded(chunk)
        if texts is None:
            for raw in raws:
                yield from self._one(raw)
            return
        if b"\r" in chunk:
            raws = [raw.removesuffix(b"\r") for raw in raws]
            texts = [text.removesuffix("\r") for text in texts]
        starts = self._starts
        for raw, text in zip(raws, texts, strict=True):
            yield Line(text, len(raw), count_words(raw), starts, False)
            starts = False
        self._starts = False
        self._number += len(raws)
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
        texts = _decoded(raw)
        if texts is None:
            where, problem, remedy = wrong_bytes(raw)
            self._bad.report(self._locate(self._number, self._offset + where), problem, remedy)
        self._offset += len(raw)
        in_pieces = self._inside or continues
        if texts is not None:
            yield Line(texts[0], len(raw), self._words(raw), self._starts, continues)
        elif in_pieces:
            yield Line("", 0, 0, self._starts, continues)
        self._starts = self._starts and texts is None and not in_pieces
        self._inside = continues
        self._open_word = self._open_word and continues

    def _words(self, raw: bytes) -> int:
        goes_on = self._open_word and raw and raw[0] not in _GAPS
        self._open_word = bool(raw) and raw[-1] not in _GAPS
        return count_words(raw) - bool(goes_on)


def _decoded(raw: bytes) -> list[str] | None:
    """The lines in `raw`, or None when a NUL is among them or they are not UTF-8."""
    if b"\0" in raw:
        return None
    try:
        return raw.decode().split("\n")
    except UnicodeDecodeError:
        return None


def _cut(raw: bytes) -> int:
    """Where a piece ends: after its last white space, else at the limit, but never inside a character."""
    end = PIECE
    while end > PIECE - 4 and raw[end] & 0xC0 == 0x80:
        end -= 1
    return max(raw.rfind(gap, 0, end) for gap in _GAPS) + 1 or end
