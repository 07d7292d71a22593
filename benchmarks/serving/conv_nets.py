"""Nets of plain convolutions with random weights, as slow as a benchmark needs them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

CLASSES = 10


def make_conv_net(
    shape: Sequence[int], layers: Sequence[tuple[int, int]], seed: int = 0
) -> onnx.ModelProto:
    """Make a net whose input `image` is UINT8 [N, *shape], grey [H, W] or colour [H, W, 3].

    `layers`: channels and stride of each convolution with a kernel of 3×3.
    """
    rng = np.random.default_rng(seed)
    weights: dict[str, npt.NDArray[Any]] = {"scale": np.array(1 / 255, dtype=np.float32)}
    if len(shape) == 3:
        nodes = [helper.make_node("Transpose", ["image"], ["planes"], perm=[0, 3, 1, 2])]
    else:
        weights["axis"] = np.array([1], dtype=np.int64)
        nodes = [helper.make_node("Unsqueeze", ["image", "axis"], ["planes"])]
    nodes += [
        helper.make_node("Cast", ["planes"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "scale"], ["maps0"]),
    ]
    taken = shape[2] if len(shape) == 3 else 1
    for layer, (channels, stride) in enumerate(layers):
        kernel = rng.normal(0, (2 / (9 * taken)) ** 0.5, (channels, taken, 3, 3))
        weights[f"kernel{layer}"] = kernel.astype(np.float32)
        names, strides = [f"maps{layer}", f"kernel{layer}"], [stride, stride]
        nodes += [
            helper.make_node("Conv", names, [f"sums{layer}"], pads=[1] * 4, strides=strides),
            helper.make_node("Relu", [f"sums{layer}"], [f"maps{layer + 1}"]),
        ]
        taken = channels
    weights["weight"] = rng.normal(0, 1, (CLASSES, taken)).astype(np.float32)
    weights["bias"] = np.zeros(CLASSES, dtype=np.float32)
    nodes += [
        helper.make_node("GlobalAveragePool", [f"maps{len(layers)}"], ["means"]),
        helper.make_node("Flatten", ["means"], ["flat"], axis=1),
        helper.make_node("Gemm", ["flat", "weight", "bias"], ["logits"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "convolutions",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", *shape])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", CLASSES])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
