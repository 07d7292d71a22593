"""The names of what a memory may count, both its tiers; `metrics` makes samples of them."""

from collections.abc import Mapping

# Of each name one number, or where it has a label, one for each of the label's values.
MemoryCounts = Mapping[str, float | Mapping[str, float]]

# name -> kind, help, and the label where there is one.
MEMORY: Mapping[str, tuple[str, ...]] = {
    "hits": ("counter", "Rows answered from the first tier."),
    "misses": ("counter", "Rows that the first tier was asked for and did not have."),
    "stores": ("counter", "Answers stored."),
    "evictions": ("counter", "Answers dropped for want of room."),
    "expirations": ("counter", "Answers dropped for their age."),
    "rejected": ("counter", "Answers larger than the whole memory."),
    "entries": ("gauge", "Answers held."),
    "bytes": ("gauge", "Bytes held, with the memory's own overhead."),
    "limit_bytes": ("gauge", "Bytes that may be held."),
    "remote_hits": ("counter", "Keys that the second tier knew."),
    "remote_misses": ("counter", "Keys asked of the second tier without an answer."),
    "remote_stores": ("counter", "Answers stored in the second tier."),
    "remote_errors": ("counter", "Keys not recalled or stored, by reason.", "reason"),
    "remote_lookups": ("counter", "Look-ups answered, each for many keys."),
    "remote_lookup_seconds": ("counter", "Time that these look-ups took."),
    "remote_key_seconds": ("gauge", "Measured time of a key: dearer rows are asked for."),
    "remote_breaker_open": ("gauge", "1 where the tier is left alone for now.", "operation"),
    "remote_pending_bytes": ("gauge", "Bytes that wait to be stored."),
}
