"""Numbers of contestants as all parts of the comparison's report use them: means over seeds, times,
who is best, who beats whom.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.compare.intervals import mean_and_margin, wilson
from benchmarks.compare.measuring.contestants import BASELINE, CONTESTANTS, CONVERTERS
from harness.results import Results

POINTS = 100.0
COST = "bulk_cpu_us"  # end to end: what a front is drawn over
Points = tuple[float, float | None]  # mean over seeds and half the 95 % interval, if there is one


@dataclass(frozen=True, slots=True)
class Standing:
    """One contestant: accuracy in per cent over seeds, CPU µs a picture end to end in bulk."""

    name: str
    accuracy: float
    margin: float | None  # half the 95 % interval over seeds; None with one seed
    cost_us: float

    def says(self) -> str:
        return f"{self.accuracy:.2f}{says_margin(self.margin, 2)} %"

    def beats(self, other: "Standing") -> bool:
        """At least as accurate and at most as dear, and not both equal."""
        ours, theirs = (self.accuracy, -self.cost_us), (other.accuracy, -other.cost_us)
        return ours != theirs and all(a >= b for a, b in zip(ours, theirs, strict=True))


def stand(results: Results) -> dict[str, Standing]:
    """All that were measured, in order."""
    measured = set(results.cases())
    found = {}
    for name in CONTESTANTS:
        if name in measured:
            values = [value * POINTS for value in results.values(name, "accuracy")]
            found[name] = Standing(name, *mean_and_margin(values), results.median(name, COST))
    return found


def find_best_converter(results: Results) -> str:
    """By accuracy on held-out pictures, mean over seeds; of equal ones the cheaper."""
    return max(
        CONVERTERS,
        key=lambda name: (
            mean_and_margin(results.values(name, "held_out_accuracy"))[0],
            -results.median(name, COST),
        ),
    )


def find_front(standings: dict[str, Standing]) -> list[Standing]:
    """Those that nobody beats, from cheap to dear."""
    able = [one for one in standings.values() if not any(
        other.beats(one) for other in standings.values())]  # fmt: skip
    return sorted(able, key=lambda one: one.cost_us)


def compare_accuracy(results: Results, name: str, other: str) -> Points:
    """Points by which `name` is more accurate."""
    ours, theirs = (
        [share * POINTS for share in results.values(one, "accuracy")] for one in (name, other)
    )
    return subtract(ours, theirs)


def subtract(ours: Sequence[float], theirs: Sequence[float]) -> Points:
    """The difference seed by seed: mean and margin."""
    return mean_and_margin([one - two for one, two in zip(ours, theirs, strict=True)])


def says_seeds(values: Sequence[float], digits: int) -> str:
    """Each seed's value, in per cent."""
    each = ", ".join(f"{value:.{digits}f}" for value in values)
    return f"one seed: {each}" if len(values) == 1 else f"mean of {len(values)} seeds: {each}"


def says_points(points: Points) -> str:
    mean, margin = points
    return f"{round(mean, 2) + 0.0:+.2f}{says_margin(margin, 2)} points"  # never -0.00


def hedge(points: Points) -> str:
    """Where the interval over seeds holds zero, that it does; nothing with one seed."""
    mean, margin = points
    return "" if margin is None or abs(mean) > margin else " (not sure: its interval holds 0)"


def says_mean(values: Sequence[float], digits: int) -> str:
    mean, margin = mean_and_margin(values)
    return f"{mean:.{digits}f}{says_margin(margin, digits)}"


def says_margin(margin: float | None, digits: int) -> str:
    return "" if margin is None else f" ± {margin:.{digits}f}"


def times_less(results: Results, name: str, metric: str, other: str = BASELINE) -> float:
    return results.median(other, metric) / results.median(name, metric)


def span_wilson(results: Results, name: str) -> str:
    """The seeds' 95 % intervals for the test set's size, one after the other, in per cent."""
    spans = []
    rows = int(results.median(name, "rows"))
    for share in results.values(name, "accuracy"):
        low, high = wilson(share, rows)
        spans.append(f"{low * POINTS:.1f}–{high * POINTS:.1f}")
    return ", ".join(spans)


def has(results: Results, case: str, metric: str) -> bool:
    return any((sample.case, sample.metric) == (case, metric) for sample in results.samples)
