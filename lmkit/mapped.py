"""Release the pages of mapped files, which count as a process's memory."""

import mmap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


def let_go(*arrays: "np.ndarray") -> None:
    """Release the memory of arrays mapped to files; later reads come from the files. Other arrays are unchanged."""
    for array in arrays:
        owner: Any = array
        mapped = None
        while owner is not None and mapped is None:
            mapped = getattr(owner, "_mmap", None)
            owner = getattr(owner, "base", None)
        if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
            mapped.madvise(mmap.MADV_DONTNEED)
