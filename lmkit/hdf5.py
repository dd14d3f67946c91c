"""Read untrusted HDF5 files: only plain data inside the file itself.

The format allows links to other files, datasets stored elsewhere, and filters that are loaded as programs
(https://docs.hdfgroup.org/hdf5/v1_14/_f_m_t3.html).
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from lmkit.errors import UsageError, one_line
from lmkit.plugins import install_hint

if TYPE_CHECKING:
    import h5py

__all__ = ["floats", "library", "opened"]


def library() -> ModuleType:
    """h5py; if it is missing, a UsageError with the command that installs it."""
    try:
        import h5py
    except ModuleNotFoundError:
        raise UsageError(f"HDF5 files need h5py, which is not installed: {install_hint('elmo')}") from None
    return h5py


@contextmanager
def opened(path: Path) -> Iterator["h5py.File"]:
    """An HDF5 file to read from; opening and reading raise ValueError if it is damaged."""
    h5py = library()
    if not path.is_file():
        raise ValueError("it is not a file" if path.exists() else "there is no such file")
    try:
        with h5py.File(path, "r") as file:
            yield file
    # h5py raises any of these for a damaged file.
    except (OSError, RuntimeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a valid HDF5 file ({one_line(error)})") from error


def floats(group: "h5py.Group", name: str) -> "h5py.Dataset":
    """The dataset at a path, of plain float32 numbers stored in this file.

    Its numbers are not read yet. The message of a ValueError says what to do.
    """
    h5py = library()
    found: Any = group
    for part in name.split("/"):
        links = found.id.links if isinstance(found, h5py.Group) else None
        if links is None or not links.exists(part.encode()):
            raise ValueError(f"it has no dataset '{name}'")
        if links.get_info(part.encode()).type != h5py.h5l.TYPE_HARD:
            raise ValueError(f"'{name}' is a link, which is not followed: copy its target into the file")
        found = found[part]
    if not isinstance(found, h5py.Dataset):
        raise ValueError(f"'{name}' is not a dataset")
    if problem := _problem(found):
        raise ValueError(f"'{name}' {problem}")
    return found


def _problem(dataset: "h5py.Dataset") -> str | None:
    """The reason why a dataset cannot be read, or None."""
    properties = dataset.id.get_create_plist()
    if dataset.dtype.newbyteorder("=") != np.float32 or dataset.shape is None:
        return f"is of type {dataset.dtype}, wanted float32"
    if dataset.is_virtual or properties.get_external_count():
        return "is stored in other files, which are not read: copy its numbers into this one"
    if properties.get_nfilters():
        return "is compressed, which is not read: `h5repack -f NONE` makes it plain"
    size = math.prod(dataset.shape) * dataset.dtype.itemsize
    if size > min(dataset.id.get_storage_size(), dataset.file.id.get_filesize()):
        return f"has the shape {list(dataset.shape)}, but the file holds fewer numbers"
    return None
