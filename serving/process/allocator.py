"""How the C library keeps memory: large blocks go back to the system as soon as they are freed, and
threads share their free blocks.

Left to itself, glibc keeps blocks of up to 32 MB for later once one of them was freed, in the arena
of every thread: a few large pictures would leave tens of megabytes for good. With a fixed threshold
large blocks are always mapped by themselves. Eight arenas a core, which gRPC's threads fill with
small blocks, fragment for a long time: two are enough, since most work holds Python's lock. Free
pages between blocks in use are given back once a minute. Other C libraries are left alone.
"""

import asyncio
import ctypes
import os

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # of glibc's malloc.h
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
    """For this process; false where it cannot be said, or the environment has said it already."""
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
    """Give free pages back at intervals, in a thread, until cancelled."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    while trim is not None:
        await asyncio.sleep(interval_s)
        await asyncio.to_thread(trim, 0)
