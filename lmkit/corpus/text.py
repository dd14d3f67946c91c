"""Plain text files: one document each, in any encoding."""

from collections.abc import Iterator
from pathlib import Path

from lmkit.corpus import compression
from lmkit.corpus.compression import Watch
from lmkit.corpus.decoding import is_utf8, sample_of, to_utf8, without_mark
from lmkit.corpus.lines import BadLines, Line, LineBlock, LineReader
from lmkit.corpus.options import DataOptions


def read_text(
    path: Path, name: str, options: DataOptions, bad: BadLines, watch: Watch | None = None
) -> Iterator[Line | LineBlock]:
    """The lines of a text file. name: for messages. watch: called with the bytes of the file."""
    # Offsets in the file are known only if it is not transcoded.
    exact = is_utf8(options.encoding)

    def locate(line: int, byte: int) -> str:
        return f"{name}: line {line} (byte {byte})" if exact else f"{name}: line {line}"

    blocks, mark = utf8_blocks(path, name, options, bad, watch)
    yield from LineReader(locate, bad, offset=mark).read_blocks(blocks)


def utf8_blocks(
    path: Path, name: str, options: DataOptions, bad: BadLines, watch: Watch | None = None
) -> tuple[Iterator[bytes], int]:
    """A file's text in UTF-8 without its byte-order mark, and the length of the mark in bytes."""

    def content(watch: Watch | None = None) -> Iterator[bytes]:
        return compression.blocks(path, max_expansion=options.max_expansion, watch=watch)

    bad.sample = lambda: sample_of(content())
    found = to_utf8(content(watch), options.encoding, name, skip=bad.skip, sample=bad.sample)
    return without_mark(found)
