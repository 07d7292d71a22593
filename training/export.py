"""A trained net as one small ONNX file: batch norm folded, parity checked, MACs and time measured.

The graph is written directly: the nets are lists of convolutions, which a tracer would obscure.
What the files are then used for belongs to `route_writer` and `dual_cnn`.
"""

import math
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper, shape_inference
from torch import nn

from core.devices import open_onnx
from training.fit import predict_logits
from training.nets import Classifier, ResidualBlock

OPSET = 17
IR_VERSION = 8
PARITY_LIMIT = 1e-3
BATCH_ROWS = 64

Floats = npt.NDArray[np.float32]


def export_onnx(net: Classifier, path: Path, size: int) -> None:
    """Write `image` uint8 [N, size, size], or [N, size, size, 3] for a net of colour pictures,
    -> `logits` float32 [N, classes]; N is free.
    """
    graph = _Graph()
    channels = len(net.scale)
    x = graph.add("Cast", "image", to=TensorProto.FLOAT)
    # padding is with the mean's zeros, so only the scale can move into the first convolution
    shift = np.array(net.shift, np.float32) / np.array(net.scale, np.float32)
    x = graph.add("Add", x, graph.constant("shift", shift if channels > 1 else shift[0]))
    if channels > 1:
        x = graph.add("Transpose", x, perm=[0, 3, 1, 2])
    else:
        x = graph.add("Unsqueeze", x, graph.constant("channel_axis", np.array([1], np.int64)))
    scale: Floats = np.array(net.scale, np.float32)
    for position, module in enumerate(net.body):
        x = _write_module(graph, x, module, scale if position == 0 else None)
    x = graph.add("Flatten", x)
    weight = graph.constant("head.weight", _numpy(net.head.weight))
    bias = graph.constant("head.bias", _numpy(net.head.bias))
    graph.add("Gemm", x, weight, bias, transB=1)
    shape = [size, size] if channels == 1 else [size, size, channels]
    model = graph.model(shape=shape, classes=net.head.out_features)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())


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
    difference = float(np.abs(run_onnx(path, pictures) - predict_logits(net, pictures)).max())
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
    _, *shape = session.get_inputs()[0].shape
    rng = np.random.default_rng(0)
    costs: dict[int, float] = {}
    for batch in batches:
        rows = rng.integers(0, 256, (batch, *shape), dtype=np.uint8)
        runs = max(1, 256 // batch)  # per repeat: long enough for the clock
        seconds = []
        for _ in range(repeats + 2):
            started = time.thread_time()
            for _ in range(runs):
                session.run(["logits"], {"image": rows})
            seconds.append((time.thread_time() - started) / (runs * batch))
        costs[batch] = statistics.median(seconds[2:]) * 1e6  # the first two warm up
    return costs


class _Graph:
    """Nodes and constants in the order they are added."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:  # Any: onnx's own signature
        output = f"{kind.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def constant(self, name: str, value: npt.NDArray[np.generic] | np.generic) -> str:
        self._constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def convolution(
        self, x: str, conv: nn.Module, norm: nn.Module | None, scale: Floats | None = None
    ) -> str:
        """The convolution of `scale * x`, one scale a channel, with the normalisation folded in."""
        assert isinstance(conv, nn.Conv2d) and not isinstance(conv.padding, str)
        weight, bias = _fold(conv, norm)
        if scale is not None:
            weight = weight * scale[:, None, None]
        prefix = f"conv_{len(self._nodes)}"
        return self.add(
            "Conv",
            x,
            self.constant(f"{prefix}.weight", weight),
            self.constant(f"{prefix}.bias", bias),
            kernel_shape=list(conv.kernel_size),
            strides=list(conv.stride),
            pads=[*conv.padding, *conv.padding],
        )

    def model(self, *, shape: Sequence[int], classes: int) -> onnx.ModelProto:
        """The whole; the node added last gives the logits."""
        self._nodes[-1].output[0] = "logits"
        image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", *shape])
        logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", classes])
        graph = helper.make_graph(self._nodes, "classifier", [image], [logits], self._constants)
        return helper.make_model(
            graph, ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)]
        )


def _write_module(graph: _Graph, x: str, module: nn.Module, scale: Floats | None = None) -> str:
    match module:
        case nn.Sequential():
            return graph.add("Relu", graph.convolution(x, module[0], module[1], scale))
        case ResidualBlock():
            inner = _write_module(graph, x, module.first)
            added = graph.convolution(inner, module.second[0], module.second[1])
            return graph.add("Relu", graph.add("Add", x, added))
        case nn.Conv2d():
            return graph.convolution(x, module, None, scale)
        case nn.ReLU():
            return graph.add("Relu", x)
        case nn.MaxPool2d():
            return graph.add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
        case nn.AdaptiveAvgPool2d():
            return graph.add("GlobalAveragePool", x)
        case nn.AdaptiveMaxPool2d():
            return graph.add("GlobalMaxPool", x)
    raise ValueError(f"cannot export a layer of type {type(module).__name__}")


def _fold(conv: nn.Conv2d, norm: nn.Module | None) -> tuple[Floats, Floats]:
    """Weights and bias of the convolution which does both, computed in float64."""
    if norm is None:
        assert conv.bias is not None, "without a normalisation our convolutions have one"
        return _numpy(conv.weight), _numpy(conv.bias)
    assert isinstance(norm, nn.BatchNorm2d)
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None and variance is not None, "our nets track statistics"
    gain = norm.weight.double() / torch.sqrt(variance.double() + norm.eps)
    weight = conv.weight.double() * gain[:, None, None, None]
    bias = norm.bias.double() - mean.double() * gain
    return _numpy(weight), _numpy(bias)


def _numpy(tensor: torch.Tensor) -> Floats:
    values: Floats = tensor.detach().to(torch.float32).contiguous().numpy()
    return np.ascontiguousarray(values)
