"""Sets how the C library keeps memory: large blocks return to the system as soon as they are freed,
and threads share their free blocks.

By default, once a block of up to 32 MB has been freed, glibc keeps such blocks for later in the
arena of every thread: a few large pictures would hold tens of megabytes for good. With a fixed
threshold, large blocks are always mapped separately. The default of eight arenas for each core,
which gRPC's threads fill with small blocks, fragments over a long time. Two are enough, since most
work holds Python's lock. Free pages between used blocks are returned once a minute. Other C
libraries are left alone.
"""

import asyncio
import ctypes
import os

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # from glibc's malloc.h
LARGE_BYTES = 2**20
FREE_TOP_BYTES = 4 * 2**20  # that a heap may keep at its end
ARENAS = 2
TRIM_INTERVAL_S = 60.0
_TUNED_BY = (
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_TRIM_THRESHOLD_",
    "MALLOC_ARENA_MAX",
    "GLIBC_TUNABLES",
)


def tune_allocator() -> bool:
    """Set the thresholds for this process. Return False if the library has no such setting or the
    environment has set them already.
    """
    if any(name in os.environ for name in _TUNED_BY):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    done = (
        mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES),
        mallopt(_M_TRIM_THRESHOLD, FREE_TOP_BYTES),
        mallopt(_M_ARENA_MAX, ARENAS),
    )
    return all(done)


async def return_free_pages(interval_s: float = TRIM_INTERVAL_S) -> None:
    """Return free pages to the system at intervals, in a thread, until cancelled."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    while trim is not None:
        await asyncio.sleep(interval_s)
        await asyncio.to_thread(trim, 0)
