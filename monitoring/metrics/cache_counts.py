"""The names of what a memory may count, both its tiers; `metrics` writes them down."""

from collections.abc import Mapping

from monitoring.metrics.snapshot import Meaning

# Of each name one number, or where it has a label, one for each of the label's values.
MemoryCounts = Mapping[str, float | Mapping[str, float]]

MEMORY: Mapping[str, Meaning] = {
    "hits": Meaning("counter", "Rows answered from the first tier."),
    "misses": Meaning("counter", "Rows that the first tier was asked for and did not have."),
    "stores": Meaning("counter", "Answers stored."),
    "evictions": Meaning("counter", "Answers dropped for want of room."),
    "expirations": Meaning("counter", "Answers dropped for their age."),
    "rejected": Meaning("counter", "Answers larger than the whole memory."),
    "entries": Meaning("gauge", "Answers held."),
    "bytes": Meaning("gauge", "Bytes held, with the memory's own overhead."),
    "limit_bytes": Meaning("gauge", "Bytes that may be held."),
    "remote_hits": Meaning("counter", "Keys that the second tier knew."),
    "remote_misses": Meaning("counter", "Keys asked of the second tier without an answer."),
    "remote_stores": Meaning("counter", "Answers stored in the second tier."),
    "remote_errors": Meaning("counter", "Keys not recalled or stored, by reason.", ("reason",)),
    "remote_lookups": Meaning("counter", "Look-ups answered, each for many keys."),
    "remote_lookup_seconds": Meaning("counter", "Time that these look-ups took."),
    "remote_key_seconds": Meaning("gauge", "Measured time of a key: dearer rows are asked for."),
    "remote_breaker_open": Meaning(
        "gauge", "1 where the tier is left alone for now.", ("operation",)
    ),
    "remote_pending_bytes": Meaning("gauge", "Bytes that wait to be stored."),
}
