"""Settings of the C allocator that suit training: what is kept from one step to the next, and what is given back."""

import ctypes
import sys
from typing import Any

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


def keep_large_blocks() -> None:
    """Let glibc's malloc reuse large blocks.

    By default each block over 32 MB is mapped anew and given back when freed, so that the pages of every
    temporary are faulted in again. Does nothing where the C library is not glibc.
    """
    if (mallopt := _of_glibc("mallopt")) is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, ctypes.c_int(2**31 - 1))


def give_back() -> None:
    """Give the system what malloc keeps of freed memory: hundreds of megabytes after a large text was read."""
    if (malloc_trim := _of_glibc("malloc_trim")) is not None:
        malloc_trim(0)


def _of_glibc(name: str) -> Any:
    if not sys.platform.startswith("linux"):
        return None
    try:
        return getattr(ctypes.CDLL(None), name)
    except (OSError, AttributeError):
        return None
