"""Release the pages of mapped files, which count as a process's memory."""

import mmap

import numpy as np


def let_go(*arrays: np.ndarray) -> None:
    """Release the memory of arrays mapped to files; later reads come from the files."""
    for array in arrays:
        owner = array
        while isinstance(owner, np.ndarray) and not isinstance(owner, np.memmap):
            owner = owner.base
        mapped = getattr(owner, "_mmap", None)
        if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
            mapped.madvise(mmap.MADV_DONTNEED)
