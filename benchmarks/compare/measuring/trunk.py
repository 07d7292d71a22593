"""The timing protocol of the papers' released code, "trunk only", beside everything.

There the timer holds LeNet's whole net, but of an early exit only the trunk before it: pooling,
convolution and linear layer of the exit, softmax and the choice of survivors are left out. Here
each net is timed bare, in batches, whole and cut the same way, so that the papers' tables can be
checked. A cut ends behind the first convolution; of a converter, the first one after its picture.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx.utils import Extractor

from benchmarks.compare.measuring.candidates import Candidate
from core.devices import open_onnx
from harness.results import Sample

CUT = (
    "branchynet",
    "truncated",
    "cbnet-dense",
    "cbnet",
)  # at their first stage; LeNet is timed whole
TIMED = ("lenet", *CUT)
BATCH_ROWS = 32
REPEATS = 5
SECONDS = 0.02  # at least, of a repeat


@dataclass(frozen=True, slots=True)
class Timed:
    """A bare net and how often a picture runs it."""

    session: onnxruntime.InferenceSession
    share: float


def measure_trunks(
    candidates: Sequence[Candidate], reached: Mapping[str, Sequence[float]], folder: Path
) -> Iterator[Sample]:
    """µs a picture of the bare nets, all whole and some by the papers' timer, in turns. `reached`:
    of each candidate the share of pictures that run each stage. `folder` is for the cut nets.
    """
    nets = {
        (one.name, metric): list(open_nets(one, reached[one.name], folder, cut_first=cut_first))
        for one in candidates
        for metric, cut_first in (("bare_us", False), ("trunk_us", one.name in CUT))
        if metric == "bare_us" or one.name in TIMED
    }
    for repeat in range(1, REPEATS + 1):
        for (name, metric), timed in nets.items():
            us = sum(net.share * time_bare(net.session) for net in timed)
            yield Sample(name, repeat, metric, us)


def open_nets(
    candidate: Candidate, reached: Sequence[float], folder: Path, *, cut_first: bool
) -> Iterator[Timed]:
    specs = candidate.route.manifest.stages
    for index, (spec, share) in enumerate(zip(specs, reached, strict=True)):
        path = candidate.directory / spec.file
        if cut_first and index == 0:
            shorter = folder / f"{candidate.name}-trunk.onnx"
            shorter.write_bytes(cut_trunk(path).SerializeToString())
            path = shorter
        yield Timed(open_onnx(path), share)


def cut_trunk(path: Path) -> onnx.ModelProto:
    """The net up to its first convolution, or where it makes a picture by a sigmoid, to the first
    one after that. ValueError where there is none.
    """
    model = onnx.shape_inference.infer_shapes(onnx.load(path))
    nodes = model.graph.node
    pictures = [index for index, node in enumerate(nodes) if node.op_type == "Sigmoid"]
    start = pictures[-1] if pictures else 0
    for node in list(nodes)[start:]:
        if node.op_type == "Conv":
            inputs = [value.name for value in model.graph.input]
            return Extractor(model).extract_model(inputs, [node.output[0]])
    raise ValueError(f"{path} has no convolution to cut behind")


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
