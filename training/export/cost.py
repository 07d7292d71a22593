"""What an exported net costs: its MACs, its time, and the largest batch which that allows."""

import math
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import shape_inference

from core.devices.onnx import OnnxDevice

MAX_BATCH_ROWS, MAX_BATCH_US = 64, 8_000.0


def count_macs(path: Path) -> int:
    """Multiply-accumulates of one picture: what the graph's Conv, Gemm and MatMul nodes execute."""
    graph = shape_inference.infer_shapes(onnx.load(path), strict_mode=True).graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        dims = value.type.tensor_type.shape.dim
        shapes[value.name] = tuple(dim.dim_value for dim in dims)
    total = 0
    for node in graph.node:
        outputs = math.prod(shapes[node.output[0]][1:])  # without the rows
        weight = shapes[node.input[1]] if len(node.input) > 1 else ()
        if node.op_type == "Conv":
            total += outputs * math.prod(weight[1:])
        elif node.op_type == "Gemm":
            transposed = any(a.name == "transB" and a.i for a in node.attribute)
            total += outputs * weight[1 if transposed else 0]
        elif node.op_type == "MatMul":
            total += outputs * weight[-2]
    return total


def measure_us_per_picture(
    path: Path, batches: Sequence[int] = (1, 8, 32, 64), repeats: int = 5
) -> dict[int, float]:
    """Warm single-threaded CPU time by batch size, in µs a picture: the median of `repeats`.

    The thread's own CPU time, so that other processes on the machine do not count.
    """
    session = OnnxDevice().open(path)
    (taken,) = session.get_inputs()
    rng = np.random.default_rng(0)
    costs: dict[int, float] = {}
    for batch in batches:
        rows = rng.integers(0, 256, (batch, *taken.shape[1:]), dtype=np.uint8)
        feed = {taken.name: rows if taken.type == "tensor(uint8)" else rows.astype(np.float32)}
        runs = max(1, 256 // batch)  # per repeat: long enough for the clock
        seconds = []
        for _ in range(repeats + 2):
            started = time.thread_time()
            for _ in range(runs):
                session.run(None, feed)
            seconds.append((time.thread_time() - started) / (runs * batch))
        costs[batch] = statistics.median(seconds[2:]) * 1e6  # the first two warm up
    return costs


def batch_limit(us_per_picture: float) -> int:
    """The largest power of two up to 64 whose batch takes no longer than a deadline can spare."""
    rows = MAX_BATCH_ROWS
    while rows > 1 and rows * us_per_picture > MAX_BATCH_US:
        rows //= 2
    return rows
