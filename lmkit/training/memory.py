"""Settings of the C allocator that suit training: large blocks are kept instead of being given back every step."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


def keep_large_blocks() -> None:
    """Let glibc's malloc reuse large blocks.

    By default each block over 32 MB is mapped anew and given back when freed, so that the pages of every
    temporary are faulted in again. Does nothing where the C library is not glibc.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, ctypes.c_int(2**31 - 1))
