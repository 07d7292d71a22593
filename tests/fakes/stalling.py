"""A route whose last stage stalls the device for seconds on a picture that says so."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from harness.tiny_routes import describe_file, make_pictures, write_route

SIZE = 256
TURNS = 80  # of SIZE**3 MACs, for each step of the first pixel: 20400 turns take some seconds


def make_staller() -> npt.NDArray[np.uint8]:
    """A picture, UINT8 [28,28], that stalls; none of `make_pictures` does."""
    picture: npt.NDArray[np.uint8] = make_pictures(1)[0]
    picture[0, 0] = 255
    return picture


def write_stalling_route(root: Path) -> Path:
    """Every row goes on to the last stage."""

    def change(table: dict[str, Any]) -> None:
        path = root / "tiny" / "1" / "stage1.onnx"
        path.write_bytes(_add_loop(onnx.load_model(path)).SerializeToString())
        table["files"]["stage1.onnx"] = describe_file(path)

    return write_route(root, thresholds=[1.0], max_batch=1, change=change)


def _add_loop(model: onnx.ModelProto) -> onnx.ModelProto:
    """logits += 0 * a product of zeros, multiplied as often as the first pixel says."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_on"], ["goes_on"]),
            helper.make_node("MatMul", ["x", "zeros"], ["next_x"]),
        ],
        "turn",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [SIZE, SIZE]),
        ],
        [
            helper.make_tensor_value_info("goes_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next_x", TensorProto.FLOAT, [SIZE, SIZE]),
        ],
    )
    weights: dict[str, npt.NDArray[Any]] = {
        "zeros": np.zeros((SIZE, SIZE), dtype=np.float32),
        "first_starts": np.array([0, 0], dtype=np.int64),
        "first_ends": np.array([1, 1], dtype=np.int64),
        "first_axes": np.array([1, 2], dtype=np.int64),
        "turns_a_step": np.array(TURNS, dtype=np.int64),
        "always": np.array(True),
    }
    graph = model.graph
    graph.node[-1].output[0] = "logits_of_net"
    graph.initializer.extend(
        numpy_helper.from_array(value, name) for name, value in weights.items()
    )
    graph.node.extend(
        [
            helper.make_node("Cast", ["image"], ["whole"], to=TensorProto.INT64),
            helper.make_node(
                "Slice", ["whole", "first_starts", "first_ends", "first_axes"], ["first"]
            ),
            helper.make_node("ReduceMax", ["first"], ["step"], keepdims=0),
            helper.make_node("Mul", ["step", "turns_a_step"], ["turns"]),
            helper.make_node("Loop", ["turns", "always", "zeros"], ["product"], body=body),
            helper.make_node("ReduceMax", ["product"], ["nothing"], keepdims=0),
            helper.make_node("Add", ["logits_of_net", "nothing"], ["logits"]),
        ]
    )
    onnx.checker.check_model(model)
    return model
