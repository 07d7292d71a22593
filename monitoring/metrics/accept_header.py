"""Which of two formats a scraper wants: OpenMetrics or Prometheus' older text, by its Accept
header.
"""

OPENMETRICS = "application/openmetrics-text"
_TEXT = "text/plain"


def prefers_openmetrics(accept: str) -> bool:
    """Only where it is asked for by name, and at least as much as the older text."""
    wanted = {OPENMETRICS: 0.0, _TEXT: 0.0}
    for part in accept.split(","):
        kind, *parameters = [word.strip().lower() for word in part.split(";")]
        if kind in wanted:
            wanted[kind] = max(wanted[kind], _read_quality(parameters))
    return wanted[OPENMETRICS] > 0 and wanted[OPENMETRICS] >= wanted[_TEXT]


def _read_quality(parameters: list[str]) -> float:
    """1 where none is given; one that is no number wants nothing."""
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return min(1.0, max(0.0, float(value)))
            except ValueError:
                return 0.0
    return 1.0
