"""Arrays on disk for a model that is built in parts, in a scratch folder that is emptied in any case."""

import errno
import logging
import shutil
import uuid
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from lmkit.errors import DataError, UsageError, reason_of
from lmkit.notes import NOTE

log = logging.getLogger(__name__)

PREFIX = "lmkit-parts-"
LARGE = 2**16 - 1
"""Sizes from this number on are not in the file of their column."""


@contextmanager
def scratch_folder(place: str | Path, need: int) -> Iterator[Path]:
    """A new folder in `place`, which may begin with `~`; removed with its files when the block ends.

    It is removed after an error or a signal too.

    need: bytes that will be written, about. Raises DataError if the disk has less space, and for a later OSError of
    these files; UsageError for a home folder that does not exist. Folders that a killed process left there are
    removed first.
    """
    try:
        parent = Path(place).expanduser().absolute()
    except RuntimeError as error:
        raise UsageError(f"--scratch {place}: there is no such home folder; give the path in full") from error
    folder = parent / f"{PREFIX}{uuid.uuid4().hex[:12]}"
    lock = _lock_of(folder)
    try:
        parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(parent)
        free = shutil.disk_usage(parent).free
        if need > free:
            raise DataError(
                f"{parent}: counting this text in parts needs about {need / 1e9:,.1f} GB there, and {free / 1e9:,.1f} "
                "GB are free: free some space, or give the folder of a larger disk with --scratch"
            )
        # The lock comes first, so that another process never takes the folder for a leftover.
        lock.acquire()
        folder.mkdir()
        yield folder
    except OSError as error:
        if error.filename is not None and not Path(error.filename).is_relative_to(parent):
            raise  # of the text or the model
        raise DataError(
            f"{parent}: the parts cannot be written ({reason_of(error)}): free some space, or give another folder "
            "with --scratch"
        ) from error
    finally:
        _remove(folder, lock)


def _remove_leftovers(parent: Path) -> None:
    for folder in parent.glob(f"{PREFIX}*/"):
        lock = _lock_of(folder)
        try:
            lock.acquire(timeout=0)
        except (Timeout, OSError):
            continue  # of a running process, or of another user
        _remove(folder, lock)
        log.log(NOTE, "%s: the parts of a stopped count are removed; counting begins again", parent)


def _lock_of(folder: Path) -> FileLock:
    return FileLock(folder.with_name(f"{folder.name}.lock"))


def _remove(folder: Path, lock: FileLock) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if lock.is_locked:
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)


def read_whole(path: Path, dtype: np.dtype, length: int, start: int = 0) -> np.ndarray:
    """`length` values of a file; OSError if it has fewer."""
    values = np.fromfile(path, dtype, length, offset=start * dtype.itemsize)
    if len(values) != length:
        raise OSError(errno.EIO, "a file is shorter than it was written", str(path))
    return values


class Column:
    """An array in a file, to which each part appends its values once."""

    def __init__(self, path: Path, dtype: type[np.generic]) -> None:
        self.path = path
        self.dtype = np.dtype(dtype)
        self.length = 0
        self._bounds: dict[int, tuple[int, int]] = {}

    def append(self, part: int, values: np.ndarray) -> None:
        assert values.dtype == self.dtype
        assert part not in self._bounds
        with self.path.open("ab") as file:
            file.write(np.ascontiguousarray(values).data)
        self._bounds[part] = self.length, self.length + len(values)
        self.length += len(values)

    def bounds(self, part: int) -> tuple[int, int]:
        """Where the values of a part are; an empty range if it has none."""
        return self._bounds.get(part, (0, 0))

    def write(self, part: int, values: np.ndarray) -> None:
        """Write other values over those of a part, or append them if it has none."""
        if part not in self._bounds:
            self.append(part, values)
            return
        start, stop = self._bounds[part]
        assert values.dtype == self.dtype
        assert len(values) == stop - start
        with self.path.open("rb+") as file:
            file.seek(start * self.dtype.itemsize)
            file.write(np.ascontiguousarray(values).data)

    def read(self, start: int, stop: int) -> np.ndarray:
        """The values start .. stop - 1, in memory."""
        if start == stop:
            return np.empty(0, self.dtype)
        return read_whole(self.path, self.dtype, stop - start, start)

    def delete(self) -> None:
        self.path.unlink(missing_ok=True)


class Sizes(Column):
    """A column of int32 numbers, most of them small: 16 bits each in the file, and the large ones in memory."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, np.uint16)
        self._places: list[int] = []
        self._large: list[int] = []

    def append(self, part: int, values: np.ndarray) -> None:
        large = np.flatnonzero(values >= LARGE)
        self._places += (large + self.length).tolist()
        self._large += values[large].tolist()
        super().append(part, np.minimum(values, LARGE).astype(np.uint16))

    def read(self, start: int, stop: int) -> np.ndarray:
        values = super().read(start, stop).astype(np.int32)
        first, last = bisect_left(self._places, start), bisect_left(self._places, stop)
        values[np.array(self._places[first:last], np.int64) - start] = self._large[first:last]
        return values
