"""What similar memory may count for a route: the names of the metrics and what they mean."""

from collections.abc import Mapping
from typing import Literal

SIMILAR: Mapping[str, tuple[Literal["counter", "gauge"], str]] = {
    "hits": ("counter", "Rows answered as a picture that looks alike was."),
    "misses": ("counter", "Rows for which no picture that looks alike was known."),
    "guarded": ("counter", "Rows too flat to be compared with any picture."),
    "refused": ("counter", "Misses where the hash agreed and the signature did not."),
    "audits": ("counter", "Hits that were computed all the same, and compared."),
    "wrong": ("counter", "Audits that found another answer than the hit's."),
    "off": ("gauge", "Versions that audits have switched off."),
    "entries": ("gauge", "Answers held."),
    "bytes": ("gauge", "Bytes held, with the memory's own overhead."),
}
