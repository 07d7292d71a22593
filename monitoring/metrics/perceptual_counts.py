"""What the perceptual cache counts for a route: names of metrics and their help."""

from collections.abc import Mapping

from monitoring.metrics.snapshot import Meaning

SIMILAR: Mapping[str, Meaning] = {
    "hits": Meaning("counter", "Rows answered with a similar picture's answer.", ("route",)),
    "misses": Meaning("counter", "Rows for which no similar picture was stored.", ("route",)),
    "guarded": Meaning(
        "counter", "Rows not looked up: too little contrast for a comparison.", ("route",)
    ),
    "refused": Meaning(
        "counter", "Misses where the hash matched and the signature did not.", ("route",)
    ),
    "audits": Meaning(
        "counter", "Hits that were also computed, to compare the answers.", ("route",)
    ),
    "wrong": Meaning(
        "counter", "Audits where the computed answer differed from the hit's.", ("route",)
    ),
    "off": Meaning(
        "gauge", "Versions whose perceptual cache the audit has switched off.", ("route",)
    ),
    "entries": Meaning("gauge", "Answers in the perceptual cache.", ("route",)),
    "bytes": Meaning("gauge", "Size of the perceptual cache, with its own overhead.", ("route",)),
}
