"""A trained net as one small ONNX file: batch norm folded, parity checked, MACs and time measured.

How a graph is written is known to `onnx_graph`; what the files are then used for belongs to
`route_writer` and `dual_cnn`.
"""

import math
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, shape_inference
from torch import nn

from core.devices import open_onnx
from training.nets import Classifier
from training.onnx_graph import Floats, Graph
from training.predicting import predict

PARITY_LIMIT = 1e-3
BATCH_ROWS = 64


def export_onnx(net: Classifier, path: Path, size: int) -> None:
    """Write `image` uint8 [N, size, size], or [N, size, size, 3] for a net of colour pictures,
    -> `logits` float32 [N, classes]; N is free.
    """
    graph = Graph()
    x = read_image(graph, net.scale, net.shift)
    layers = [*net.body, nn.Flatten(), net.head]
    x = graph.write(x, layers, np.array(net.scale, np.float32))
    shape = (size, size) if len(net.scale) == 1 else (size, size, len(net.scale))
    model = graph.model(
        inputs={"image": (TensorProto.UINT8, shape)},
        outputs={"logits": (x, (net.head.out_features,))},
    )
    path.write_bytes(model.SerializeToString())


def read_image(graph: Graph, scale: Sequence[float], shift: Sequence[float]) -> str:
    """`image` as float32 [N, C, H, W], `scale` short of normalised: the first convolution takes
    that up, as padding with zeros is padding with the mean.
    """
    x = graph.add("Cast", "image", to=TensorProto.FLOAT)
    offset = np.array(shift, np.float32) / np.array(scale, np.float32)
    if offset.any():
        x = graph.add("Add", x, graph.constant(offset if len(scale) > 1 else offset[0]))
    if len(scale) > 1:
        return graph.add("Transpose", x, perm=[0, 3, 1, 2])
    return graph.add("Unsqueeze", x, graph.constant(np.array([1], np.int64)))


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


def run_onnx(path: Path, pictures: npt.NDArray[np.uint8]) -> Floats:
    """Logits [N, classes] of the exported file: what a server would see."""
    session = open_onnx(path)
    parts = [
        session.run(["logits"], {"image": pictures[i : i + BATCH_ROWS]})[0]
        for i in range(0, len(pictures), BATCH_ROWS)
    ]
    logits: Floats = np.concatenate(parts)
    return logits


def check_parity(net: Classifier, path: Path, pictures: npt.NDArray[np.uint8]) -> float:
    """The largest difference of any logit from torch's; ValueError above `PARITY_LIMIT`."""
    difference = float(np.abs(run_onnx(path, pictures) - predict(net, pictures)[-1]).max())
    if not difference <= PARITY_LIMIT:
        raise ValueError(
            f"{path}: logits differ from torch's by {difference:.2g}, allowed is {PARITY_LIMIT:.2g}"
        )
    return difference


def measure_us_per_picture(
    path: Path, batches: Sequence[int] = (1, 8, 32, 64), repeats: int = 5
) -> dict[int, float]:
    """Warm single-threaded CPU time by batch size, in µs a picture: the median of `repeats`.

    The thread's own CPU time, so that other processes on the machine do not count.
    """
    session = open_onnx(path)
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
