"""Text from any source as a stream of lines that can be read repeatedly."""

import hashlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import chain
from typing import TYPE_CHECKING, Protocol, Self

from lmkit import strict_json
from lmkit.corpus.decoding import check_encoding
from lmkit.corpus.lines import BadLines, Line, LineBlock, expanded
from lmkit.corpus.options import DataOptions
from lmkit.corpus.prefetch import read_ahead
from lmkit.corpus.rows import KEEPING
from lmkit.corpus.sources import FileSource, ListSource, Source, TableSource, find
from lmkit.errors import DataError, UsageError
from lmkit.notes import NOTE

if TYPE_CHECKING:
    from lmkit.contracts import Progress

__all__ = ["Line", "LineBlock", "Text", "TextLike", "TextLines"]

log = logging.getLogger(__name__)


class TextLike(Protocol):
    """The interface of a text for the token store and the tokenizers."""

    def __iter__(self) -> Iterator[Line]: ...

    def blocks(self) -> Iterator[Line | LineBlock]:
        """The same lines; whole, short and valid ones may come in blocks."""
        ...

    def fingerprint(self) -> str: ...

    def describe(self) -> str: ...


class Text:
    """The lines of some sources, one source after another; each iteration reads them again, in bounded memory.

    sources: paths, folders, patterns, "pydocs" or names of data sets of the hub; "pydocs" if empty.
    keep: columns of tables whose values the lines carry.
    fingerprinted: whether `fingerprint` will be called, so that the first reading also computes it if possible.
    Raises DataError for a missing path, UsageError for columns of plain text, and, while iterating, DataError
    for unreadable or blank text.
    """

    def __init__(
        self,
        sources: Sequence[str],
        options: DataOptions,
        *,
        keep: Sequence[str] = (),
        fingerprinted: bool = False,
    ) -> None:
        check_encoding(options.encoding)
        found = [find(name, options.input_format) for name in sources or ["pydocs"]]
        self._fill(
            [s for group, _ in found for s in group], [name for _, name in found], options, tuple(keep)
        )
        if fingerprinted:
            for source in self._sources:
                if isinstance(source, FileSource):
                    source.digests.as_read = True

    @classmethod
    def from_lines(cls, lines: Iterable[str]) -> Self:
        """A document of lines from Python code; a line end within or after one also ends a line.

        One string is a text: "" has no lines, like an empty list, and "\\n" has a blank one, like [""]. All may be
        blank. Raises UsageError for items that are not strings.
        """
        text = cls.__new__(cls)
        given = given_lines(lines)
        text._fill([ListSource(given)], [f"{len(given)} lines"], DataOptions())
        text._may_be_blank = True
        return text

    def _fill(
        self, sources: list[Source], names: list[str], options: DataOptions, keep: tuple[str, ...] = ()
    ) -> None:
        self._sources = sources
        self.keep = keep
        self._names = names
        self._options = options
        self._warned = False
        if keep and not all(isinstance(source, TableSource) for source in sources):
            raise UsageError(
                f"{self.describe()}: plain text has no columns for {KEEPING}; leave these options out, or give the "
                "format of the table with --input-format"
            )
        self._may_be_blank = False
        self._fingerprint: tuple[list[object], str] | None = None
        """The last fingerprint with the stamps of its sources, since hashing reads every file."""

    def __iter__(self) -> Iterator[Line]:
        return expanded(self.blocks())

    def blocks(self) -> Iterator[Line | LineBlock]:
        """The same lines, with the same errors; those of plain text come in blocks if possible."""
        bad = BadLines(self._options.on_bad_line)
        has_lines = has_words = False
        for source in self._sources:
            for part in self._parts(source, bad):
                has_lines = True
                has_words = has_words or (part.num_words > 0 if isinstance(part, Line) else part.has_words)
                yield part
        if bad.count and not self._warned:
            self._warned = True
            log.log(NOTE, "%s: %s", self.describe(), bad.summary())
        if not has_words and not self._may_be_blank:
            what = "only blank lines" if has_lines else "empty"
            raise DataError(f"{self.describe()}: no text in it ({what}); give another text")

    def _parts(self, source: Source, bad: BadLines) -> Iterator[Line | LineBlock]:
        bad.sample = None
        if isinstance(source, TableSource):
            return source.read_keeping(self.keep, self._options, bad)
        return source.read(self._options, bad)

    def fingerprint(self) -> str:
        """SHA-256 over the contents and the options that affect reading, not the files' names."""
        stamps = [source.stamp() for source in self._sources]
        if self._fingerprint is None or self._fingerprint[0] != stamps:
            self._fingerprint = stamps, self._hash()
        return self._fingerprint[1]

    def describe(self) -> str:
        """A few words for messages: "train.txt", "3 files of books/"."""
        shown = ", ".join(self._names[:3])
        return shown if len(self._names) <= 3 else f"{shown} and {len(self._names) - 3} more"

    def _hash(self) -> str:
        options = asdict(self._options)
        del options["max_expansion"]  # decides whether, not how, a file is read
        del options["input_format"]  # is in the digests, resolved
        sha = hashlib.sha256(strict_json.dumps(options, sort_keys=True).encode())
        for source in self._sources:
            sha.update(source.digest().encode() + b"\n")
        return sha.hexdigest()


def given_lines(lines: Iterable[str]) -> tuple[str, ...]:
    """Lines from Python code: strings, or one string as a whole text; UsageError for other types."""
    if isinstance(lines, bytes) or not isinstance(lines, Iterable):
        raise UsageError(
            f"the text is of the type {type(lines).__name__}: give a string, or a list of strings"
        )
    given = (lines,) * bool(lines) if isinstance(lines, str) else tuple(lines)
    for number, line in enumerate(given, 1):
        if not isinstance(line, str):
            raise UsageError(f"line {number} is a {type(line).__name__}: give a string, or a list of strings")
    return given


HELD = 1 << 24
"""Maximum number of bytes of text that `TextLines.beginning` keeps."""


class TextLines:
    """The lines of a text as strings, on which a tokenizer is fitted.

    A tokenizer that counts bytes uses `blocks` instead. progress: shows the progress of reading.
    """

    def __init__(self, text: TextLike, progress: "Progress | None" = None) -> None:
        self._text = text
        self._progress = progress
        self._begun: Iterator[Line | LineBlock] | None = None

    def beginning(self) -> Iterator[Line]:
        """The first lines, as many as the caller takes; the next iteration begins with them without reading them again.

        If they are too large for memory, it does read them again.
        """
        parts, kept, size = read_ahead(self._text.blocks()), [], 0
        self._begun = chain(kept, parts)
        for part in parts:
            kept.append(part)
            size += part.num_bytes if isinstance(part, Line) else len(part.raw)
            if size > HELD:
                self._begun = None
                kept.clear()
            yield from expanded([part])

    def __iter__(self) -> Iterator[str]:
        return (line.text for line in expanded(self.blocks()))

    def blocks(self) -> Iterator[Line | LineBlock]:
        blocks, self._begun = self._begun or read_ahead(self._text.blocks()), None
        if self._progress is None:
            return blocks
        return iter(self._progress(blocks, total=None, label=f"reading {self._text.describe()}"))
