"""A stage and its int8 twin, compared: time in turns, size, answers."""

from contextlib import suppress
from dataclasses import dataclass

from core.classifiers.label_sets import grade_labels
from importing.choosing import MAX_DROP, MAX_DROP_AT_ALL, MIN_SAVING, correlate
from importing.onnx_files.faults import ImportFault
from importing.onnx_files.graphs import Array, Feed
from importing.quantising import can_quantise, find_outer_nodes, quantise_stage
from importing.stage_files import StageFile, run_rows
from importing.timing import measure_in_turns

MIN_SPEEDUP = 1 / (1 - MIN_SAVING)  # less is within the noise of the clock
TIMED_ROWS = 64


@dataclass(frozen=True, slots=True)
class StageRows:
    """What a stage gets: rows that calibrate, and others that judge."""

    calibrating: Feed
    judging: Feed
    # Of the rows that judge: classes [N], or 0 and 1 by label [N, L]; None: there are neither.
    labels: Array | None


@dataclass(frozen=True, slots=True)
class Compressed:
    """One stage before and after."""

    name: str
    us_before: float  # CPU time of a row, measured in turns
    us_after: float
    bytes_before: int
    bytes_after: int
    # The share of rows that get the same class, or of labels, where there are several at once; of
    # other models, correlation.
    agreement: float
    loss: float  # of accuracy, 0 to 1; where the labels are no classes, of agreement

    @property
    def speedup(self) -> float:
        return self.us_before / self.us_after

    @property
    def is_faster(self) -> bool:
        """Whether the int8 file saves more time than the clock's noise."""
        return self.speedup >= MIN_SPEEDUP

    @property
    def is_accurate(self) -> bool:
        """Whether the int8 file loses little enough; a loss that is NaN is too much."""
        return self.loss <= MAX_DROP_AT_ALL

    def describe(self) -> str:
        """Return one sentence for the terminal."""
        verdict = (
            f"{self.speedup:.1f} times as fast" if self.is_faster else ("not faster on this CPU")
        )
        return (
            f"{self.name}: {verdict} ({self.us_before:.0f} → {self.us_after:.0f} µs a row), "
            f"{self.bytes_before / 1000:,.0f} → {self.bytes_after / 1000:,.0f} kB, "
            f"{self.agreement:.2%} of the answers are the same, {self.loss * 100:.1f} points lost"
        )


def make_twin(stage: StageFile, rows: StageRows) -> tuple[StageFile, Compressed]:
    """Quantise a stage and compare the two.

    Where the twin loses more than MAX_DROP, its outer operators stay in float. Raises ImportFault
    if the stage cannot be quantised.
    """
    if not can_quantise(stage):
        raise ImportFault(f"{stage.name}: has no operator that int8 makes faster")
    before = _answer(stage, rows.judging)
    twin = quantise_stage(stage, rows.calibrating, kept=())
    agreement, loss = _compare(before, _answer(twin, rows.judging), rows.labels)
    if loss > MAX_DROP and (kept := find_outer_nodes(twin)):
        with suppress(ImportFault):  # then the twin without it is judged
            twin = quantise_stage(stage, rows.calibrating, kept=kept)
            agreement, loss = _compare(before, _answer(twin, rows.judging), rows.labels)
    some = {name: array[:TIMED_ROWS] for name, array in rows.judging.items()}
    times = measure_in_turns({stage.name: stage, twin.name: twin}, some)
    sizes = len(stage.raw), len(twin.raw)
    found = Compressed(stage.name, times[stage.name], times[twin.name], *sizes, agreement, loss)
    return twin, found


def _answer(stage: StageFile, rows: Feed) -> Array:
    """Return the stage's logits, else its last output."""
    names = [tensor.name for tensor in stage.outputs]
    place = names.index("logits") if "logits" in names else -1
    return run_rows(stage.open(), rows, batches=stage.batches)[place]


def _compare(before: Array, after: Array, labels: Array | None) -> tuple[float, float]:
    """Return the agreement of two stages' answers, and what the second loses of accuracy."""
    if labels is not None and labels.ndim == 2 and before.shape == labels.shape:
        limit = 0.5 if before.min() >= 0 and before.max() <= 1 else 0.0  # of sigmoids, of logits
        grades = [grade_labels(one >= limit, labels).mean() for one in (before, after)]
        return float(((before >= limit) == (after >= limit)).mean()), float(grades[0] - grades[1])
    agreement = _agree(before, after)
    if labels is None or labels.ndim != 1 or before.ndim != 2 or before.shape[1] <= labels.max():
        return agreement, 1 - agreement
    right, still_right = (one.argmax(axis=1) == labels for one in (before, after))
    return agreement, float(right.mean() - still_right.mean())


def _agree(before: Array, after: Array) -> float:
    if before.ndim == 2 and before.shape[1] > 1:
        return float((before.argmax(axis=1) == after.argmax(axis=1)).mean())
    return correlate(before, after)
