"""What the bare nets of a candidate cost in batches, without a server."""

import time
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnxruntime

from benchmarks.compare.measuring.candidates import Candidate
from core.devices import open_onnx
from harness.results import Sample

BATCH_ROWS = 32
REPEATS = 5
SECONDS = 0.02  # at least, of a repeat


def measure_bare(
    candidates: Sequence[Candidate], reached: Mapping[str, Sequence[float]]
) -> Iterator[Sample]:
    """µs a picture, in turns. `reached`: of each candidate the share of pictures that run each
    stage.
    """
    nets = {
        one.name: [
            (open_onnx(one.directory / spec.file), share)
            for spec, share in zip(one.route.manifest.stages, reached[one.name], strict=True)
        ]
        for one in candidates
    }
    for repeat in range(1, REPEATS + 1):
        for name, stages in nets.items():
            us = sum(share * time_bare(session) for session, share in stages)
            yield Sample(name, repeat, "bare_us", us)


def time_bare(session: onnxruntime.InferenceSession) -> float:
    """µs a picture of CPU time, of a batch of noise, after a warm-up."""
    rng = np.random.default_rng(0)
    feed = {node.name: _make_noise(rng, node.type, node.shape[1:]) for node in session.get_inputs()}
    session.run(None, feed)
    calls, started, seconds = 0, time.thread_time(), 0.0
    while seconds < SECONDS:
        session.run(None, feed)
        calls += 1
        seconds = time.thread_time() - started
    return seconds / (calls * BATCH_ROWS) * 1e6


def _make_noise(rng: np.random.Generator, kind: str, shape: Sequence[int]) -> np.ndarray:
    if kind == "tensor(uint8)":
        return rng.integers(0, 256, (BATCH_ROWS, *shape), dtype=np.uint8)
    return rng.random((BATCH_ROWS, *shape), dtype=np.float32)
