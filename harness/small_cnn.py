"""A small CNN with random weights as a one-stage route directory, to measure the cost of serving.

Random, so nothing needs training: 28x28 grey pictures, two strided convolutions and a linear head,
about 0.4 million multiply-accumulates. Same bytes for the same seed.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from harness.tiny_routes import write_route

ROUTE = "small-cnn"
FILE = "stage0.onnx"
SIZE = 28
CLASSES = 10
CHANNELS = (16, 48)
MACS = 14 * 14 * 16 * 9 + 7 * 7 * 48 * 16 * 9 + 7 * 7 * 48 * CLASSES


def write_small_cnn(models: Path, seed: int = 0, route: str = ROUTE) -> Path:
    """Write `<models>/<route>/1/` and return it."""

    def change(table: dict[str, Any]) -> None:
        table["expected_macs"] = float(MACS)
        table["stages"][0]["macs"] = MACS

    return write_route(
        models, route, seed=seed, task="benchmark", score="max_probability", max_batch=64,
        nets=[build_small_cnn(seed)], change=change,
    )  # fmt: skip


def build_small_cnn(seed: int = 0) -> onnx.ModelProto:
    """`image` uint8 [N,28,28] -> `logits` float32 [N,10]."""
    rng = np.random.default_rng(seed)
    first, second = CHANNELS
    head = rng.normal(0, 1, (second, 7 * 7, CLASSES))
    head -= head.mean(axis=1, keepdims=True)  # ignore overall brightness, so that labels vary
    weights: dict[str, npt.NDArray[Any]] = {
        "scale": np.array(1 / 255, np.float32),
        "axis": np.array([1], np.int64),
        "kernel1": rng.normal(0, 0.5, (first, 1, 3, 3)).astype(np.float32),
        "bias1": rng.normal(0, 0.1, first).astype(np.float32),
        "kernel2": rng.normal(0, 0.15, (second, first, 3, 3)).astype(np.float32),
        "bias2": rng.normal(0, 0.1, second).astype(np.float32),
        "weight": head.reshape(-1, CLASSES).astype(np.float32),
        "bias": np.zeros(CLASSES, np.float32),
    }
    shape: dict[str, Any] = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "scale"], ["unit"]),
        helper.make_node("Unsqueeze", ["unit", "axis"], ["plane"]),
        helper.make_node("Conv", ["plane", "kernel1", "bias1"], ["map1"], **shape),
        helper.make_node("Relu", ["map1"], ["active1"]),
        helper.make_node("Conv", ["active1", "kernel2", "bias2"], ["map2"], **shape),
        helper.make_node("Relu", ["map2"], ["active2"]),
        helper.make_node("Flatten", ["active2"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weight", "bias"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "small_cnn",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", SIZE, SIZE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", CLASSES])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model
