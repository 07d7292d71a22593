"""What the local and the remote cache count: names of metrics and their help."""

from collections.abc import Mapping

from monitoring.metrics.snapshot import Meaning

# Of each name one number, or where it has a label, one for each of the label's values.
MemoryCounts = Mapping[str, float | Mapping[str, float]]

MEMORY: Mapping[str, Meaning] = {
    "hits": Meaning("counter", "Rows answered from the local cache."),
    "misses": Meaning("counter", "Rows looked up in the local cache and not found."),
    "stores": Meaning("counter", "Answers stored in the local cache."),
    "evictions": Meaning("counter", "Answers evicted from the local cache to free space."),
    "expirations": Meaning("counter", "Answers dropped from the local cache after their TTL."),
    "rejected": Meaning(
        "counter", "Answers not stored because they exceed the local cache's limit."
    ),
    "entries": Meaning("gauge", "Answers in the local cache."),
    "bytes": Meaning("gauge", "Size of the local cache, with its own overhead."),
    "limit_bytes": Meaning("gauge", "Maximum size of the local cache."),
    "remote_hits": Meaning("counter", "Keys found in the remote cache."),
    "remote_misses": Meaning("counter", "Keys looked up in the remote cache without an answer."),
    "remote_stores": Meaning("counter", "Answers stored in the remote cache."),
    "remote_errors": Meaning(
        "counter", "Keys not looked up or not stored in the remote cache, by reason.", ("reason",)
    ),
    "remote_lookups": Meaning("counter", "Completed remote cache lookups; one covers many keys."),
    "remote_lookup_seconds": Meaning(
        "counter", "Total duration of completed remote cache lookups."
    ),
    "remote_key_seconds": Meaning(
        "gauge", "Measured lookup time per key; rows that cost more device time are looked up."
    ),
    "remote_breaker_open": Meaning(
        "gauge",
        "1 while the circuit breaker of the remote cache is open, by operation.",
        ("operation",),
    ),
    "remote_pending_bytes": Meaning("gauge", "Bytes waiting to be stored in the remote cache."),
}
