"""Write files atomically, hash them, and read untrusted files."""

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from lmkit.errors import DataError, LmkitError, UsageError, reason_of

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""The numbers of an OSError of a disk without space, a quota that is used up, and a limit on the size of files."""


def check_new(path: Path, *, overwrite: bool = False) -> None:
    """Raise UsageError if `new_file` could not write `path`; call this before long work."""
    if path.exists() and not path.is_file():
        raise UsageError(f"{path} is not a file; give the path of a file")
    if path.exists() and not overwrite:
        raise UsageError(f"{path} exists already: give --overwrite to replace it, or another name")
    if not path.absolute().parent.is_dir():
        raise UsageError(
            f"{path} cannot be written: there is no folder {path.parent}; create it, or choose another file"
        )


@contextmanager
def new_file(path: Path, *, overwrite: bool = False) -> Iterator[BinaryIO]:
    """A file to write, which gets its name when the block ends, whole and on the disk; after an error nothing is left.

    overwrite: replace an older file, which stays until then. Of a link, the file that it points to is written.
    It can be read too, as some libraries do with what they write.
    Raises UsageError as `check_new` does and where the folder refuses the file, DataError where the disk is full.
    """
    check_new(path, overwrite=overwrite)
    with writing(path, _hidden(path)), replaced(path) as file:
        yield file


@contextmanager
def writing(
    place: Path,
    hidden: Path | None = None,
    *,
    kind: type[LmkitError] | None = None,
    then: str = "or choose another place",
) -> Iterator[None]:
    """Inside the block, an OSError of a file or folder that is written becomes one of ours, which names `place`.

    hidden: the path under which it is written, if that is another. kind: the class of the errors; by default a
    DataError where the disk is full, else a UsageError. then: the end of their remedy. Errors of other files, such as
    a text that is read, are not changed.
    """
    try:
        yield
    except OSError as error:
        if not _concerns(error, place, hidden or place):
            raise
        remedy = "free some space" if error.errno in FULL else "check its permissions"
        kind = kind or (DataError if error.errno in FULL else UsageError)
        raise kind(f"{place} cannot be written ({reason_of(error)}); {remedy}, {then}") from error


def _concerns(error: OSError, *places: Path) -> bool:
    """Whether an error may come from writing at these paths, in folders under them, or in their parents."""
    if error.errno in (None, errno.EPIPE, errno.ENOMEM):
        return False  # of a network, a reader of the output, or memory
    if not isinstance(error.filename, str):
        return error.filename is None  # a file that was opened before
    path = Path(error.filename).absolute()
    return any(path.is_relative_to(one) or one.is_relative_to(path) for one in map(Path.absolute, places))


@contextmanager
def replaced(path: Path) -> Iterator[BinaryIO]:
    """The same for lmkit's own files: an existing file is always replaced, and errors are OSError."""
    hidden = _hidden(path)
    hidden.unlink(missing_ok=True)  # left behind by a killed process
    # "x": fails for an existing file, and follows no link.
    file = hidden.open("x+b")
    mine = os.fstat(file.fileno())
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if not _is(hidden, mine):
            raise OSError(errno.EBUSY, "another process is writing the same file", str(hidden))
        hidden.replace(path.resolve())
    finally:
        if _is(hidden, mine):
            hidden.unlink()


def _is(path: Path, file: os.stat_result) -> bool:
    """Whether a path still refers to this file."""
    try:
        return os.path.samestat(path.lstat(), file)
    except FileNotFoundError:
        return False


def _hidden(path: Path) -> Path:
    path = path.resolve()
    return path.with_name(f".{path.name}.part")


def user_cache(name: str) -> Path | None:
    """The folder of this name in the user's cache; None if the system knows no home of the user."""
    import platformdirs

    try:
        path = platformdirs.user_cache_path("lmkit") / name
    except RuntimeError:
        return None
    return path if path.is_absolute() else None  # older versions leave a ~ that cannot be replaced


def write_text(path: Path, text: str) -> None:
    """Write or replace a UTF-8 file atomically; OSError if it cannot be written."""
    with replaced(path) as file:
        file.write(text.encode())


def place_folder(hidden: Path, folder: Path) -> None:
    """Rename a finished folder once its entries are on disk; its files are synchronised already."""
    sync_folder(hidden)
    hidden.rename(folder)
    sync_folder(folder.parent)


def sync_file(path: Path) -> None:
    """Wait until the contents of a file are on the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the entries of a folder are on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_bounded(path: Path, largest: int) -> bytes:
    """The bytes of an untrusted file.

    Raises OSError if it cannot be read, ValueError if it is not a file or has more than `largest` bytes.
    """
    if path.exists() and not path.is_file():
        raise ValueError("it is a directory or a device, not a file")
    size = path.stat().st_size
    if size > largest:
        raise ValueError(f"it has {size:,} bytes, more than {largest:,}")
    return path.read_bytes()
