"""The bytes of files, compressed or not, with the checks that damaged and hostile archives call for."""

import bz2
import gzip
import io
import lzma
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol

from lmkit.corpus.lines import BLOCK
from lmkit.errors import DataError, one_line, reason_of

SUFFIXES = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "zstandard"}
"""The methods of compression by the ends of file names."""
EXPANSION_FLOOR = 64 << 20
"""Decompressed bytes below which no file is called a bomb."""
XZ_MEMORY = 1 << 30
"""Bytes that a .xz file may make its decoder take: `xz -9` needs 65 MiB, and a header can ask for 4 GiB."""
_XZ_MEMORY_ERROR = "Memory usage limit exceeded"
"""What lzma's error says then; it has no class of its own."""
_ZSTD_BLOCK = 1 << 11
"""A few bytes of zstandard can stand for 128 KiB, and come out all at once: feed it little."""


Watch = Callable[[bytes], None]
"""Is shown the bytes of a file as they are on disk while they are read, and b"" when all have been."""


class Readable(Protocol):
    """As much of a file as decompression needs."""

    def read(self, size: int, /) -> bytes: ...

    def tell(self) -> int: ...


def blocks(path: Path, *, max_expansion: float, watch: Watch | None = None) -> Iterator[bytes]:
    """The content of a file in blocks, decompressed where its name ends in .gz, .bz2, .xz or .zst.

    DataError: it cannot be opened, it is cut off or not what its name says, or it grows by more than
    `max_expansion` (0: no limit).
    """
    method = SUFFIXES.get(path.suffix.lower())
    with _opened(path) as file:
        raw = _Watched(file, watch) if watch else file
        if method is None:
            yield from _plain(raw)
            return
        yield from _decompressed(path, raw, method, max_expansion)
        if watch:
            deque(_plain(raw), maxlen=0)  # what follows the end of a compressed stream


def raw_blocks(path: Path) -> Iterator[bytes]:
    """The bytes of a file as they are on disk; DataError when it cannot be read."""
    with _opened(path) as file:
        yield from _plain(file)


def _plain(file: Readable) -> Iterator[bytes]:
    while block := file.read(BLOCK):
        yield block


class _Watched:
    """A file that shows what is read of it."""

    def __init__(self, file: IO[bytes], watch: Watch) -> None:
        self._file = file
        self._watch = watch
        self.tell = file.tell

    def read(self, size: int) -> bytes:
        block = self._file.read(size)
        if block or size:
            self._watch(block)
        return block


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read: {reason_of(error)}; check the path and its permissions"
        ) from None


def _decompressed(path: Path, file: Readable, method: str, max_expansion: float) -> Iterator[bytes]:
    size = 0
    try:
        for block in _READERS[method](file):
            size += len(block)
            if max_expansion and size > max(EXPANSION_FLOOR, max_expansion * file.tell()):
                raise DataError(
                    f"{path}: grows to more than {max_expansion:g} times its size (at byte {file.tell()}), "
                    "like a decompression bomb; if it is none, raise --max-expansion (0: no limit)"
                )
            yield block
    except EOFError:
        raise DataError(
            f"{path}: cut off after {size} decompressed bytes: its {method} stream has no end; fetch it again"
        ) from None
    except (gzip.BadGzipFile, zlib.error, lzma.LZMAError, _Bzip2Error, _ZstdError) as error:
        what = f"damaged after {size} decompressed bytes" if size else f"not a {method} file"
        reason = one_line(error)
        if reason == _XZ_MEMORY_ERROR:
            raise DataError(
                f"{path}: asks for more than {XZ_MEMORY >> 20} MiB of memory to be decompressed; "
                "compress it with a smaller dictionary (xz -9)"
            ) from None
        raise DataError(
            f"{path}: {what} ({reason}); fetch it again, or rename it if it is plain text"
        ) from None


def _gzip(file: Readable) -> Iterator[bytes]:
    with gzip.GzipFile(fileobj=file) as stream:  # pyright: ignore[reportArgumentType]
        while block := stream.read(BLOCK):
            yield block


class _Bzip2Error(Exception):
    """What is wrong with a bzip2 stream; bz2 itself raises OSError, as a disk does."""


def _bzip2(file: Readable) -> Iterator[bytes]:
    # BZ2File leaves out in silence what is damaged after the first stream.
    stream = bz2.BZ2Decompressor()
    data = b""
    while data := data or file.read(io.DEFAULT_BUFFER_SIZE):
        if stream.eof:
            stream = bz2.BZ2Decompressor()
        while data or not (stream.eof or stream.needs_input):
            try:
                block = stream.decompress(data, BLOCK)
            except OSError as error:
                raise _Bzip2Error(error) from None
            data = b""
            if block:
                yield block
        data = stream.unused_data
    if not stream.eof:
        raise EOFError


def _xz(file: Readable) -> Iterator[bytes]:
    # LZMAFile takes no limit of memory, and leaves out in silence what is damaged after the first stream.
    stream = lzma.LZMADecompressor(memlimit=XZ_MEMORY)
    data = b""
    while data := data or file.read(io.DEFAULT_BUFFER_SIZE):
        if stream.eof:
            data = data.lstrip(b"\0")  # padding after a stream
            if not data:
                continue
            stream = lzma.LZMADecompressor(memlimit=XZ_MEMORY)
        while data or not (stream.eof or stream.needs_input):
            block = stream.decompress(data, BLOCK)
            data = b""
            if block:
                yield block
        data = stream.unused_data
    if not stream.eof:
        raise EOFError


class _ZstdError(Exception):
    """zstandard's own error, under a name that needs no import."""


def _zstandard(file: Readable) -> Iterator[bytes]:
    # zstandard's file objects take a stream that is cut off for one that ends, hence its lower interface.
    import zstandard

    stream = None
    data = b""
    try:
        while data := data or file.read(_ZSTD_BLOCK):
            stream = stream or zstandard.ZstdDecompressor().decompressobj()
            if block := stream.decompress(data):
                yield block
            data = stream.unused_data if stream.eof else b""
            stream = None if stream.eof else stream
    except zstandard.ZstdError as error:
        raise _ZstdError(error) from None
    if stream is not None:
        raise EOFError


_READERS: dict[str, Callable[[Readable], Iterator[bytes]]] = {
    "gzip": _gzip,
    "bzip2": _bzip2,
    "xz": _xz,
    "zstandard": _zstandard,
}
