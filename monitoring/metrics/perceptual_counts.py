"""What the perceptual cache counts for a route: names of metrics and their help."""

from collections.abc import Mapping

from monitoring.metrics.snapshot import MetricInfo

SIMILAR: Mapping[str, MetricInfo] = {
    "hits": MetricInfo("counter", "Rows answered with a similar picture's answer.", ("route",)),
    "misses": MetricInfo("counter", "Rows for which no similar picture was stored.", ("route",)),
    "guarded": MetricInfo(
        "counter", "Rows not looked up: too little contrast for a comparison.", ("route",)
    ),
    "refused": MetricInfo(
        "counter", "Misses where the hash matched and the signature did not.", ("route",)
    ),
    "audits": MetricInfo(
        "counter", "Hits that were also computed, to compare the answers.", ("route",)
    ),
    "wrong": MetricInfo(
        "counter", "Audits where the computed answer differed from the hit's.", ("route",)
    ),
    "off": MetricInfo(
        "gauge", "Versions whose perceptual cache the audit has switched off.", ("route",)
    ),
    "entries": MetricInfo("gauge", "Answers in the perceptual cache.", ("route",)),
    "bytes": MetricInfo(
        "gauge", "Size of the perceptual cache, with its own overhead.", ("route",)
    ),
}
