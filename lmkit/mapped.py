"""The pages of mapped files, which count as a process's memory: their size and their release."""

import contextlib
import mmap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


def let_go(*arrays: "np.ndarray") -> None:
    """Release the memory of arrays mapped to files; later reads come from the files. Other arrays are unchanged."""
    for array in arrays:
        mapped = _map_of(array)
        if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
            mapped.madvise(mmap.MADV_DONTNEED)


def use_large_pages(array: "np.ndarray") -> None:
    """Let the system add memory to an array mapped to a file by 2 MB at a time, if it can; for copies to it.

    Slower for arrays that a kernel fills in several places at once: such a page leaves the cache before it is full.
    """
    mapped = _map_of(array)
    if mapped is not None and hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a system without large pages
            mapped.madvise(mmap.MADV_HUGEPAGE)


def _map_of(array: "np.ndarray") -> Any:
    """The map of the file that an array is a view of; None for others."""
    owner: Any = array
    while owner is not None:
        mapped = getattr(owner, "_mmap", None)
        if mapped is not None:
            return mapped
        owner = getattr(owner, "base", None)
    return None
