"""Read the bytes of files, compressed or not, with checks for damaged and hostile archives."""

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
"""The methods of compression, by suffix."""
EXPANSION_FLOOR = 64 << 20
"""A file with fewer decompressed bytes is never refused as a decompression bomb."""
XZ_MEMORY = 1 << 30
"""Bytes that a .xz file may make its decoder take: `xz -9` needs 65 MiB, and a header can ask for 4 GiB."""
_XZ_MEMORY_ERROR = "Memory usage limit exceeded"
"""The text of lzma's error when the limit is exceeded; it has no separate class."""
_ZSTD_BLOCK = 1 << 11
"""A few bytes of zstandard can expand to 128 KiB at once, so they are fed in small blocks."""


Watch = Callable[[bytes], None]
"""Called with the bytes of a file as they are on disk while it is read, and with b"" at the end."""


class Readable(Protocol):
    """The methods of a file that decompression needs."""

    def read(self, size: int, /) -> bytes: ...

    def tell(self) -> int: ...


def blocks(path: Path, *, max_expansion: float, watch: Watch | None = None) -> Iterator[bytes]:
    """The content of a file in blocks, decompressed where its name ends in .gz, .bz2, .xz or .zst.

    Raises DataError if it cannot be opened, is cut off or not of the format of its suffix, or grows by more than the
    factor `max_expansion` (0: no limit).
    """
    method = SUFFIXES.get(path.suffix.lower())
    with _opened(path) as file:
        raw = _Watched(file, watch) if watch else file
        if method is None:
            yield from _plain(raw)
            return
        yield from _decompressed(path, raw, method, max_expansion)
        if watch:
            deque(_plain(raw), maxlen=0)  # the bytes after the end of a compressed stream


def raw_blocks(path: Path) -> Iterator[bytes]:
    """The bytes of a file as they are on disk; DataError if it cannot be read."""
    with _opened(path) as file:
        yield from _plain(file)


def _plain(file: Readable) -> Iterator[bytes]:
    while block := file.read(BLOCK):
        yield block


class _Watched:
    """A file that passes the bytes that are read to a function."""

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
                    "like a decompression bomb; if you trust it, raise --max-expansion (0: no limit)"
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
                f"{path}: needs more than {XZ_MEMORY >> 20} MiB of memory to decompress; "
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
    """A damaged bzip2 stream; bz2 itself raises OSError, like a disk."""


def _bzip2(file: Readable) -> Iterator[bytes]:
    # BZ2File silently omits damaged data after the first stream.
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
    # LZMAFile has no memory limit, and silently omits damaged data after the first stream.
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
    """zstandard's error, under a name that needs no import."""


def _zstandard(file: Readable) -> Iterator[bytes]:
    # zstandard's file objects accept a truncated stream, so this uses the lower-level interface.
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
