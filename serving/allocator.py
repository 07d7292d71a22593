"""How the C library keeps memory: large blocks go back to the system as soon as they are freed.

Left to itself, glibc keeps blocks of up to 32 MB for later once one of them was freed, in the arena
of every thread: a few large pictures would leave tens of megabytes for good. With a fixed threshold
large blocks are always mapped by themselves. Other C libraries are left alone.
"""

import ctypes
import os

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
LARGE_BYTES = 2**20
FREE_TOP_BYTES = 4 * 2**20  # that a heap may keep at its end
_TUNED_BY = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")


def return_large_blocks() -> bool:
    """For this process; false where it cannot be said, or the environment has said it already."""
    if any(name in os.environ for name in _TUNED_BY):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    set_both = (
        mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES),
        mallopt(_M_TRIM_THRESHOLD, FREE_TOP_BYTES),
    )
    return all(set_both)
