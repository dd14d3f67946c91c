"""Files for tarfile and zipfile that limit their memory: both read as much as an archive claims to hold."""

import io
from collections.abc import Generator
from pathlib import Path
from typing import Self

from lmkit.corpus.compression import blocks
from lmkit.errors import DataError, ModelError

LARGEST_READ = 1 << 22
"""Bytes; the headers and the list of members of a run's archive are far smaller."""


class CarefulFile(io.BufferedReader):
    """A file on disk, for zipfile."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self._size = path.stat().st_size

    def read(self, size: int | None = -1, /) -> bytes:
        """At most `size` bytes; ModelError for more than LARGEST_READ, since memory is allocated first."""
        left = max(0, self._size - self.tell())
        return super().read(_bounded(left if size is None or size < 0 else min(size, left)))


class Unpacked:
    """The decompressed content of a .tar.gz or .tar.xz, read once from start to end, for tarfile."""

    def __init__(self, path: Path, max_expansion: float) -> None:
        self._blocks = _content(path, max_expansion)
        self._block = b""
        self._used = 0
        """Bytes of the block that are already consumed."""
        self._at = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._blocks.close()

    def tell(self) -> int:
        return self._at

    def read(self, size: int) -> bytes:
        """At most `size` bytes, fewer only at the end; ModelError for more than LARGEST_READ."""
        parts = []
        left = _bounded(size)
        while left and (part := self._part(left)):
            parts.append(part)
            left -= len(part)
        return b"".join(parts)

    def seek(self, position: int) -> None:
        """Skip to a later position, or the end if it comes first; ModelError for an earlier one."""
        if position < self._at:
            raise ModelError("is damaged: a member claims an impossible size; fetch it again")
        while self._at < position and self._part(position - self._at):
            pass

    def _part(self, most: int) -> bytes:
        """The rest of the current block, or the next one, up to `most` bytes; empty at the end."""
        if self._used == len(self._block):
            self._block, self._used = next(self._blocks, b""), 0
        part = self._block[self._used : self._used + most]
        self._used += len(part)
        self._at += len(part)
        return part


def _content(path: Path, max_expansion: float) -> Generator[bytes]:
    """The blocks of the reader of compressed text, with its errors as ModelErrors."""
    try:
        yield from blocks(path, max_expansion=max_expansion)
    except DataError as error:
        raise ModelError(str(error).removeprefix(f"{path}: ")) from None


def _bounded(size: int) -> int:
    if not 0 <= size <= LARGEST_READ:
        raise ModelError(f"is damaged: one of its headers claims {size:,} bytes; fetch it again")
    return size
