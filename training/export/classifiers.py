"""A trained net of a pool as one ONNX file, with batch norm folded, checked against torch."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from onnx import TensorProto
from torch import nn

from core.devices.onnx import OnnxDevice
from training.export.onnx_graph import Floats, Graph
from training.nets.pools import Classifier
from training.nets.predicting import predict

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
    """`image` as float32 [N, C, H, W], normalised but for `scale`, which the first convolution
    applies: so padding with zeros is padding with the mean.
    """
    x = graph.add("Cast", "image", to=TensorProto.FLOAT)
    offset = np.array(shift, np.float32) / np.array(scale, np.float32)
    if offset.any():
        x = graph.add("Add", x, graph.constant(offset if len(scale) > 1 else offset[0]))
    if len(scale) > 1:
        return graph.add("Transpose", x, perm=[0, 3, 1, 2])
    return graph.add("Unsqueeze", x, graph.constant(np.array([1], np.int64)))


def run_onnx(path: Path, pictures: npt.NDArray[np.uint8]) -> Floats:
    """Logits [N, classes] of the exported file, as a server computes them."""
    session = OnnxDevice().open(path)
    parts = [
        session.run(["logits"], {"image": pictures[i : i + BATCH_ROWS]})[0]
        for i in range(0, len(pictures), BATCH_ROWS)
    ]
    logits: Floats = np.concatenate(parts)
    return logits


def check_parity(net: nn.Module, path: Path, pictures: npt.NDArray[np.uint8]) -> float:
    """The largest difference of any logit from torch's; ValueError above `PARITY_LIMIT`."""
    difference = float(np.abs(run_onnx(path, pictures) - predict(net, pictures)[-1]).max())
    if not difference <= PARITY_LIMIT:
        raise ValueError(
            f"{path}: logits differ from torch's by {difference:.2g}, allowed is {PARITY_LIMIT:.2g}"
        )
    return difference
