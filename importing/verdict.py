"""The verdict of an import: each model alone, in float and int8, and the cascade.

It is measured on rows that chose nothing, and ends in one sentence that says what to serve.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from cascades.pairs import compare_pairs
from cascades.thresholds import Grades

TWO_SIDED_95 = 1.959964


class Measure(StrEnum):
    """What `accuracy` is the mean of, over rows."""

    accuracy = "accuracy"  # one label is right
    row_f1 = "F1"  # of several labels, the F1 of a row


@dataclass(frozen=True, slots=True)
class VerdictRow:
    """One way to serve: a model alone, or the cascade."""

    name: str
    precision: str  # float32, int8 or mixed
    members: tuple[str, ...]
    accuracy: float  # on the test rows
    us_per_row: float  # CPU time of one thread, in full batches
    macs: float  # per row, expected
    size_bytes: int
    difference: float  # of the accuracy from the reference's, paired
    low: float  # its 95 % interval
    high: float
    chosen: bool = False
    reached: tuple[float, ...] = ()  # of a cascade: the share of rows that runs each stage
    mj_per_row: float | None = None  # None: unknown


@dataclass(frozen=True, slots=True)
class Verdict:
    """All rows, and the sentence."""

    rows: tuple[VerdictRow, ...]
    reference: str
    max_loss: float  # allowed, of accuracy
    choosing_rows: int
    test_rows: int
    sentence: str
    notes: tuple[str, ...]
    energy: str = ""  # where the joules come from, one clause
    has_meter: bool = False  # else joules are proportional to time
    measure: Measure = Measure.accuracy

    @property
    def chosen(self) -> VerdictRow:
        return next(row for row in self.rows if row.chosen)

    def as_json(self) -> dict[str, Any]:
        """Return the verdict as JSON's types."""
        return {
            "sentence": self.sentence,
            "reference": self.reference,
            "measure": self.measure.value,
            "max_loss": self.max_loss,
            "max_loss_kept": judge_loss(self.chosen, self.reference, self.max_loss).value,
            "choosing_rows": self.choosing_rows,
            "test_rows": self.test_rows,
            "rows": [
                {
                    "name": row.name,
                    "precision": row.precision,
                    "members": list(row.members),
                    "accuracy": row.accuracy,
                    "us_per_row": row.us_per_row,
                    "mj_per_row": row.mj_per_row,
                    "macs": row.macs,
                    "size_bytes": row.size_bytes,
                    "difference": row.difference,
                    "interval": [row.low, row.high],
                    "reached": list(row.reached),
                    "chosen": row.chosen,
                }
                for row in self.rows
            ],
            "energy": self.energy,
            "energy_measured": self.has_meter,
            "notes": list(self.notes),
        }


def compare_hits(hits: Grades, reference: Grades) -> tuple[float, float, float]:
    """Return the paired difference of two accuracies, and its 95 % interval."""
    mean, error = compare_pairs(hits, reference)
    half = TWO_SIDED_95 * error
    return float(hits.mean() - reference.mean()), mean - half, mean + half


class LossKept(StrEnum):
    """Whether the test rows keep the allowed loss."""

    yes = "yes"
    no = "no"
    not_shown = "not shown"  # the difference does, the lower end of its interval does not


def judge_loss(chosen: VerdictRow, reference: str, max_loss: float) -> LossKept:
    """Compare the loss on the test rows with the allowed one; the reference itself loses none."""
    if chosen.name == reference or chosen.low >= -max_loss:
        return LossKept.yes
    return LossKept.no if chosen.difference < -max_loss else LossKept.not_shown


_WARNINGS = {
    LossKept.yes: "",
    LossKept.no: " Warning: it loses more than the {:.1f} points that --max-loss allows.",
    LossKept.not_shown: " That it loses at most {:.1f} points (--max-loss) is not shown.",
}


def write_sentence(
    rows: Sequence[VerdictRow],
    reference: str,
    max_loss: float,
    measure: Measure = Measure.accuracy,
) -> str:
    """Say what to serve, and what that costs beside the reference."""
    chosen = next(row for row in rows if row.chosen)
    base = next(row for row in rows if row.name == reference)
    if chosen.name == reference:
        return (
            f"Serve {reference} alone: no cascade and no int8 file keeps its {measure} for less "
            "time on this CPU."
        )
    share = chosen.us_per_row / base.us_per_row
    how = "the cascade " + " → ".join(chosen.members)
    if len(chosen.members) == 1:
        how = f"{chosen.name} alone"
    reached = f"{chosen.accuracy:.1%} correct"
    if measure is Measure.row_f1:
        reached = f"a mean F1 of {chosen.accuracy:.1%} a row"
    return (
        f"Serve {how}: {reached} at {share:.0%} of the time of {reference} "
        f"({chosen.us_per_row:.0f} of {base.us_per_row:.0f} µs a row); the {measure} differs by "
        f"{chosen.difference * 100:+.1f} points, 95 % interval {chosen.low * 100:+.1f} to "
        f"{chosen.high * 100:+.1f}."
        f"{_WARNINGS[judge_loss(chosen, reference, max_loss)].format(max_loss * 100)}"
    )
