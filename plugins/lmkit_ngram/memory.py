"""Letting go of the pages of mapped files, which count as a process's memory while they are held."""

import mmap

import numpy as np


def let_go(*arrays: np.ndarray) -> None:
    """Give back the memory of arrays that are mapped to files; what is next read comes from the file."""
    for array in arrays:
        owner = array
        while isinstance(owner, np.ndarray) and not isinstance(owner, np.memmap):
            owner = owner.base
        mapped = getattr(owner, "_mmap", None)
        if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
            mapped.madvise(mmap.MADV_DONTNEED)
