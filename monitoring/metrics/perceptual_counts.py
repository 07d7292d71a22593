"""What similar memory may count for a route: the names of the metrics and what they mean."""

from collections.abc import Mapping

from monitoring.metrics.snapshot import Meaning

SIMILAR: Mapping[str, Meaning] = {
    "hits": Meaning("counter", "Rows answered as a picture that looks alike was.", ("route",)),
    "misses": Meaning(
        "counter", "Rows for which no picture that looks alike was known.", ("route",)
    ),
    "guarded": Meaning("counter", "Rows too flat to be compared with any picture.", ("route",)),
    "refused": Meaning(
        "counter", "Misses where the hash agreed and the signature did not.", ("route",)
    ),
    "audits": Meaning("counter", "Hits that were computed all the same, and compared.", ("route",)),
    "wrong": Meaning("counter", "Audits that found another answer than the hit's.", ("route",)),
    "off": Meaning("gauge", "Versions that audits have switched off.", ("route",)),
    "entries": Meaning("gauge", "Answers held.", ("route",)),
    "bytes": Meaning("gauge", "Bytes held, with the memory's own overhead.", ("route",)),
}
