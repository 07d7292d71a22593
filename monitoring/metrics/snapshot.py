"""What was counted, at one moment: plain values that are written, sent to another process, or
added up.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from monitoring.metrics.counts import Exemplar, Histogram

Kind = Literal["counter", "gauge", "histogram"]
Values = tuple[str, ...]  # of a family's labels, in their order


class MetricInfo(NamedTuple):
    """How a name is explained to Prometheus."""

    kind: Kind
    text: str
    labels: tuple[str, ...] = ()


@dataclass(slots=True)
class Buckets:
    """How many observations fell into each bucket alone, and the sum of what was observed."""

    counts: list[int]
    total: float
    exemplars: Mapping[int, Exemplar] = field(default_factory=dict)  # by bucket


@dataclass(slots=True)
class Family:
    """One metric, a counter's name without `_total`, and its series by label values."""

    name: str
    kind: Kind
    text: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()  # of a histogram's buckets, without the last, which has none
    numbers: dict[Values, float] = field(default_factory=dict)
    histograms: dict[Values, Buckets] = field(default_factory=dict)

    def add(self, values: Values, value: float) -> None:
        """The counter or gauge with these label values."""
        self._check(values)
        self.numbers[values] = float(value)  # JSON knows no numbers of numpy's

    def add_histogram(
        self,
        values: Values,
        histogram: Histogram,
        exemplars: Mapping[int, Exemplar] | None = None,
    ) -> None:
        """Copied: what is counted afterwards does not change it."""
        self._check(values)
        self.bounds = histogram.bounds
        counts = histogram.counts.copy()
        self.histograms[values] = Buckets(counts, histogram.total, dict(exemplars or {}))

    def _check(self, values: Values) -> None:
        if len(values) != len(self.labels):
            raise ValueError(f"{self.name} has the labels {self.labels}, not {len(values)} of them")


Snapshot = Sequence[Family]


def pack(snapshot: Snapshot) -> list[Any]:
    """As values of JSON, without exemplars."""
    return [
        [
            *(family.name, family.kind, family.text, family.labels, family.bounds),
            list(family.numbers.items()),
            [[values, one.counts, one.total] for values, one in family.histograms.items()],
        ]
        for family in snapshot
    ]


def unpack(packed: Iterable[Any]) -> Snapshot:
    """What `pack` made."""
    return [
        Family(
            *(name, kind, text, tuple(labels), tuple(bounds)),
            numbers={tuple(values): value for values, value in numbers},
            histograms={tuple(values): Buckets(*one) for values, *one in histograms},
        )
        for name, kind, text, labels, bounds, numbers, histograms in packed
    ]
