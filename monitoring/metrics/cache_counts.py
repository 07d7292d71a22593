"""What the local and the remote cache count: names of metrics and their help."""

from collections.abc import Mapping

from monitoring.metrics.snapshot import MetricInfo

# One number for each name, or one for each value of its label.
CacheCounts = Mapping[str, float | Mapping[str, float]]

MEMORY: Mapping[str, MetricInfo] = {
    "hits": MetricInfo("counter", "Rows answered from the local cache."),
    "misses": MetricInfo("counter", "Rows looked up in the local cache and not found."),
    "stores": MetricInfo("counter", "Answers stored in the local cache."),
    "evictions": MetricInfo("counter", "Answers evicted from the local cache to free space."),
    "expirations": MetricInfo("counter", "Answers dropped from the local cache after their TTL."),
    "rejected": MetricInfo(
        "counter", "Answers not stored because they exceed the local cache's limit."
    ),
    "skipped": MetricInfo(
        "counter", "Rows not cached because computing them is measured to cost less."
    ),
    "entries": MetricInfo("gauge", "Answers in the local cache."),
    "bytes": MetricInfo("gauge", "Size of the local cache, with its own overhead."),
    "limit_bytes": MetricInfo("gauge", "Maximum size of the local cache."),
    "remote_hits": MetricInfo("counter", "Keys found in the remote cache."),
    "remote_misses": MetricInfo("counter", "Keys looked up in the remote cache without an answer."),
    "remote_stores": MetricInfo("counter", "Answers stored in the remote cache."),
    "remote_errors": MetricInfo(
        "counter", "Keys not looked up or not stored in the remote cache, by reason.", ("reason",)
    ),
    "remote_lookups": MetricInfo(
        "counter", "Completed remote cache lookups; one covers many keys."
    ),
    "remote_lookup_seconds": MetricInfo(
        "counter", "Total duration of completed remote cache lookups."
    ),
    "remote_key_seconds": MetricInfo(
        "gauge", "Measured lookup time per key; rows that cost more device time are looked up."
    ),
    "remote_breaker_open": MetricInfo(
        "gauge",
        "1 while the circuit breaker of the remote cache is open, by operation.",
        ("operation",),
    ),
    "remote_pending_bytes": MetricInfo("gauge", "Bytes waiting to be stored in the remote cache."),
}
