"""Runs a route without a server in batches: time inside its stages, MACs and answers.

Rows that continue wait for a full batch, as under load in the engine. Time is the thread's CPU time
inside `Stage.run`, so that other processes of the machine do not count.
"""

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from core.devices.interface import Precision
from core.devices.onnx import OnnxDevice
from core.messages import Array, Batch, Outcome, Pipeline, Step
from harness.load.traffic import Labels, Pictures
from routes.loading import LoadedRoute, load_route


@dataclass(slots=True)
class StageRun:
    """Labels and confidences in row order (label -1: failed); seconds, MACs and rows by stage."""

    labels: Labels
    device_s: dict[str, float] = field(default_factory=dict)
    macs: dict[str, int] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    confidences: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    outcomes: list[Outcome | None] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)  # the last stage that a row ran


def open_route(models: Path, route: str, precision: Precision = "auto") -> LoadedRoute:
    """Load a route's newest version; stages with two files run as a server runs them, or in this
    precision. Raises FileNotFoundError without such a route."""
    versions = [path for path in (models / route).glob("*") if path.name.isdigit()]
    if not versions:
        raise FileNotFoundError(f"{models} has no route {route}")
    directory = max(versions, key=lambda path: int(path.name))
    return load_route(directory, OnnxDevice(precision=precision))


def run_stages(pipeline: Pipeline, pictures: Pictures, batch_rows: int) -> StageRun:
    """Run every picture through the pipeline, in batches of up to `batch_rows` at each stage."""
    count = len(pictures)
    found = StageRun(
        np.full(count, -1, np.int64),
        confidences=np.zeros(count),
        outcomes=[None] * count,
        ends=[""] * count,
    )
    queues: dict[str, deque[tuple[int, Mapping[str, Array]]]] = {
        name: deque() for name in pipeline.stages
    }
    for start in range(0, count, batch_rows):
        rows = range(start, min(start + batch_rows, count))
        queues[pipeline.first].extend((row, {"image": pictures[row]}) for row in rows)
        last = rows.stop == count
        while name := _pick(queues, 1 if last else batch_rows, pipeline.first):
            queue = queues[name]
            taken = [queue.popleft() for _ in range(min(batch_rows, len(queue)))]
            for (row, _), step in zip(taken, _run(pipeline, name, taken, found), strict=True):
                found.ends[row] = name
                if step.next is not None:
                    queues[step.next.stage].append((row, step.next.inputs))
                elif step.answer is not None:
                    _note(found, row, step.answer)
    return found


def _note(found: StageRun, row: int, answer: Outcome) -> None:
    found.labels[row] = int(answer.outputs["label"])
    found.confidences[row] = answer.confidence
    found.outcomes[row] = answer


def _pick(
    queues: Mapping[str, deque[tuple[int, Mapping[str, Array]]]], at_least: int, first: str
) -> str | None:
    """Select a stage with enough waiting rows; the first stage always has a full batch."""
    for name, queue in queues.items():
        if len(queue) >= (1 if name == first else at_least):
            return name
    return None


def _run(
    pipeline: Pipeline,
    name: str,
    taken: list[tuple[int, Mapping[str, Array]]],
    found: StageRun,
) -> list[Step]:
    inputs = {key: np.stack([values[key] for _, values in taken]) for key in taken[0][1]}
    batch = Batch(inputs, {}, [None] * len(taken))
    started = time.thread_time()
    steps = list(pipeline.stages[name].run(batch))
    found.device_s[name] = found.device_s.get(name, 0.0) + time.thread_time() - started
    found.macs[name] = found.macs.get(name, 0) + sum(step.macs for step in steps)
    found.rows[name] = found.rows.get(name, 0) + len(taken)
    return steps
