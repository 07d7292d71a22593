"""What the bare nets of a candidate cost in batches, without a server."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.compare.measuring.candidates import Candidate
from benchmarks.serving.onnx_time import measure_onnx
from harness.results import Sample

BATCH_ROWS = 32
REPEATS = 5
SECONDS = 0.02  # of a repeat


def measure_bare(
    candidates: Sequence[Candidate], reached: Mapping[str, Sequence[float]]
) -> Iterator[Sample]:
    """CPU µs a picture, in turns. `reached`: of each candidate the share of pictures that run each
    stage.
    """
    for repeat in range(1, REPEATS + 1):
        for one in candidates:
            stages = zip(one.route.manifest.stages, reached[one.name], strict=True)
            us = sum(share * time_bare(one.directory / spec.file) for spec, share in stages)
            yield Sample(one.name, repeat, "bare_us", us)


def time_bare(path: Path) -> float:
    return measure_onnx(path, [BATCH_ROWS], SECONDS)[BATCH_ROWS]["cpu_us"]
