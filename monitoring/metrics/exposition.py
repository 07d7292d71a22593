"""Counts as the text that Prometheus reads: its older format, and OpenMetrics 1.0.

A scrape is written on the event loop, where every request waits for it, and a server of fifty
routes has four thousand lines: hence no object for a line (decision 0031).
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import accumulate
from math import inf, isnan
from typing import Literal, NamedTuple

from monitoring.metrics.accept_header import OPENMETRICS
from monitoring.metrics.counts import Exemplar, Histogram

Kind = Literal["counter", "gauge", "histogram"]

OLDER_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS_TYPE = f"{OPENMETRICS}; version=1.0.0; charset=utf-8"
_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
_TEXT_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n"})


class Meaning(NamedTuple):
    """What Prometheus is told of a name."""

    kind: Kind
    text: str
    labels: tuple[str, ...] = ()


class Family:
    """One metric: its name, a counter's without `_total`, what it means, and its lines so far."""

    __slots__ = ("_examples", "_kind", "_labels", "_lines", "_name", "_sample", "_text")

    def __init__(self, name: str, kind: Kind, text: str, labels: tuple[str, ...] = ()) -> None:
        self._name = name
        self._kind = kind
        self._text = text
        self._labels = labels
        self._sample = f"{name}_total" if kind == "counter" else name
        self._lines: list[str] = []
        self._examples: dict[int, Exemplar] = {}  # by line

    def add(self, values: tuple[str, ...], value: float) -> None:
        """The counter or gauge with these label values."""
        labels = _write_labels(self._labels, values)
        self._lines.append(f"{self._sample}{labels and f'{{{labels}}}'} {write_number(value)}")

    def add_histogram(
        self,
        values: tuple[str, ...],
        histogram: Histogram,
        examples: Mapping[int, Exemplar] | None = None,
    ) -> None:
        """The histogram with these label values, and by bucket an example."""
        labels = _write_labels(self._labels, values)
        for bucket, example in (examples or {}).items():
            self._examples[len(self._lines) + bucket] = example
        starts = _write_starts(self._name, labels, histogram.bounds)
        seen = list(accumulate(histogram.counts))
        self._lines += [start + str(count) for start, count in zip(starts, seen, strict=True)]
        self._lines.append(f"{self._name}_count{labels and f'{{{labels}}}'} {seen[-1]}")
        total = write_number(histogram.total)
        self._lines.append(f"{self._name}_sum{labels and f'{{{labels}}}'} {total}")

    def write(self, *, openmetrics: bool) -> str:
        """All lines, each with its end."""
        name = self._name if openmetrics else self._sample
        text = self._text.translate(_ESCAPES if openmetrics else _TEXT_ESCAPES)
        lines = [f"# HELP {name} {text}", f"# TYPE {name} {self._kind}", *self._lines, ""]
        for place, (trace, value, at) in self._examples.items() if openmetrics else ():
            lines[place + 2] += f' # {{trace_id="{trace}"}} {write_number(value)} {at:.3f}'
        return "\n".join(lines)


@lru_cache(maxsize=8192)
def _write_labels(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    return ",".join(
        f'{name}="{value.translate(_ESCAPES)}"' for name, value in zip(names, values, strict=True)
    )


@lru_cache(maxsize=4096)
def _write_starts(name: str, labels: str, bounds: tuple[float, ...]) -> tuple[str, ...]:
    """All that does not change in a histogram's lines: they are nine of ten."""
    start = f'{name}_bucket{{{labels}{"," if labels else ""}le="'
    return tuple(f'{start}{bound}"}} ' for bound in (*bounds, "+Inf"))


def write_number(value: float) -> str:
    """As Prometheus reads it."""
    if isnan(value):
        return "NaN"
    if value in (inf, -inf):
        return "+Inf" if value > 0 else "-Inf"
    return repr(float(value))  # a bool or a number of numpy's shows itself otherwise


def write_text(families: Iterable[Family], *, openmetrics: bool = False) -> bytes:
    """The body of a scrape."""
    text = "".join(family.write(openmetrics=openmetrics) for family in families)
    return (text + "# EOF\n" if openmetrics else text).encode()
