"""Decides whether the local cache pays for a route: it must save more than it costs.

A cached row costs its fingerprint, a lookup and storing its answer. It saves a row's device time,
as often as rows come again. Where that is less, only one request in `SAMPLED` is cached from then
on, so that the server sees when rows begin to come again. The choice depends on the row's bytes:
the same row is always in the sample, or never.
"""

from zlib import crc32

SAMPLED = 8
SAMPLE_BYTES = 1024  # of a request's first row
_EVIDENCE_ROWS = 4096  # looked up; before that, everything is cached
_MARGIN = 2.0  # to stop, the cache must cost so many times what it saves


class CacheWorth:
    """Rows of one route that were looked up, the recent ones with more weight."""

    __slots__ = ("_hits", "_is_sampling", "_rows")

    def __init__(self) -> None:
        self._rows = 0.0
        self._hits = 0.0
        self._is_sampling = False

    def observe(self, rows: int, hits: int) -> None:
        """Count rows that were looked up, and those of them that were found or under way."""
        self._rows += rows
        self._hits += hits
        if self._rows >= 2 * _EVIDENCE_ROWS:
            self._rows /= 2
            self._hits /= 2

    def pays(self, row_s: float, cache_row_s: float) -> bool:
        """Return whether caching pays for rows with this device time and this cost of caching."""
        if self._rows < _EVIDENCE_ROWS:
            return True
        saved_s = row_s * self._hits / self._rows
        margin = 1.0 if self._is_sampling else _MARGIN
        self._is_sampling = saved_s * margin < cache_row_s
        return not self._is_sampling


def is_in_sample(first_row: bytes) -> bool:
    """Return whether a request whose first row begins with these bytes is cached in any case."""
    return crc32(first_row[:SAMPLE_BYTES]) % SAMPLED == 0
