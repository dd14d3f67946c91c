"""Tune the C allocator for training: keep memory between steps, and return it after reading a text."""

import ctypes
import sys
from typing import Any

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


def keep_large_blocks() -> None:
    """Let glibc's malloc reuse large blocks.

    By default, each block over 32 MB is mapped on allocation and unmapped when freed, so that every temporary tensor
    causes page faults again. Does nothing if the C library is not glibc.
    """
    if (mallopt := _of_glibc("mallopt")) is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, ctypes.c_int(2**31 - 1))


def give_back() -> None:
    """Return freed memory to the system: hundreds of megabytes after reading a large text."""
    if (malloc_trim := _of_glibc("malloc_trim")) is not None:
        malloc_trim(0)


def _of_glibc(name: str) -> Any:
    if not sys.platform.startswith("linux"):
        return None
    try:
        return getattr(ctypes.CDLL(None), name)
    except (OSError, AttributeError):
        return None
