"""Tables of what was measured, declared by their columns and rendered as Markdown."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from harness.results import Results

# The 97.5 % quantile of Student's t by degrees of freedom, 1 to 9.
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
MAX_RUNS = len(_T) + 1


@dataclass(frozen=True, slots=True)
class Column:
    """A metric of every case; of several metrics, their mean in each run."""

    title: str
    metrics: tuple[str, ...]
    scale: float = 1.0
    digits: int | None = None  # None: four significant ones
    over: Literal["median", "mean", "interval"] = "median"  # of runs; interval: mean ± 95 %
    times_less_than: str = ""  # the other case's median over this one's

    def show(self, results: Results, case: str) -> str:
        """Empty where nothing was measured."""
        try:
            values = self._read(results, case)
            if self.times_less_than:
                other = np.median(self._read(results, self.times_less_than))
                return f"{other / np.median(values):.{self.digits}f} ×"
        except KeyError:
            return ""
        if self.over == "median":
            return self._say(float(np.median(values)))
        mean, margin = mean_and_margin(values)
        shown = self._say(mean)
        if self.over == "interval" and margin is not None:
            shown += f" ± {self._say(margin)}"
        return shown

    def _read(self, results: Results, case: str) -> list[float]:
        runs = zip(*(results.values(case, metric) for metric in self.metrics), strict=True)
        return [self.scale * sum(run) / len(run) for run in runs]

    def _say(self, value: float) -> str:
        if self.digits is not None:
            return f"{value:,.{self.digits}f}"
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def plain(titles: Mapping[str, str]) -> tuple[Column, ...]:
    """A column for every metric: title."""
    return tuple(Column(title, (metric,)) for metric, title in titles.items())


LOADS = plain({
    "cpu_us": "CPU µs/request",
    "requests_s": "requests/s",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "ready_s": "ready s",
    "resident_mb": "resident MB",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Table:
    """Without `cases`, of every case that has one of the columns."""

    columns: Sequence[Column]
    caption: str = "Everything measured:"
    cases: Mapping[str, str] | None = None  # what the first column calls each

    def render(self, results: Results) -> str:
        """The table as Markdown; empty where nothing of it was measured."""
        measured = results.cases()
        names = {case: case for case in measured} if self.cases is None else self.cases
        rows = [
            [name, *(column.show(results, case) for column in self.columns)]
            for case, name in names.items()
            if case in measured
        ]
        head = ["case", *(column.title for column in self.columns)]
        filled = [row for row in rows if any(row[1:])]
        return f"{self.caption}\n\n{make_table(head, filled)}" if filled else ""


def make_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def mean_and_margin(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean, and half of its interval of 95 % (Student); None for a single value."""
    mean = math.fsum(values) / len(values)
    if len(values) == 1:
        return mean, None
    freedom = len(values) - 1
    variance = math.fsum((value - mean) ** 2 for value in values) / freedom
    return mean, _T[freedom - 1] * math.sqrt(variance / len(values))
