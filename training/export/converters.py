"""Converters and single classifiers as ONNX files, checked against torch.

A convert stage is one file: the autoencoder, the light classifier behind it and, for the gate, how
far the converted picture is from its nearest target.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from onnx import TensorProto
from torch import nn

from core.devices.onnx import OnnxDevice
from training.export.classifiers import BATCH_ROWS, PARITY_LIMIT
from training.export.onnx_graph import Floats, Graph
from training.nets.autoencoders import EncoderClassifier, Mlp
from training.nets.converter import Converter
from training.nets.exit_net import ExitNet
from training.nets.pools import Classifier
from training.nets.predicting import predict

Pictures = npt.NDArray[np.uint8]


def export_classifier(net: nn.Module, path: Path, size: int) -> None:
    """Write `image` -> `logits` of any classifier; of the last exit where there are several."""
    graph = Graph()
    if isinstance(net, Classifier | ExitNet):
        x = _classify(graph, _read(graph), net, 1.0)
    elif isinstance(net, EncoderClassifier):
        x = graph.write(_read(graph, unit=True), [net.encoder, net.head])
    else:
        assert isinstance(net, Mlp), type(net)
        x = graph.write(_read(graph, unit=True), [net.body])
    model = graph.model(
        inputs={"image": (TensorProto.UINT8, (size, size))},
        outputs={"logits": (x, (_classes(net),))},
    )
    path.write_bytes(model.SerializeToString())


def export_converter(net: Converter, references: Floats, path: Path, size: int) -> None:
    """Write `image` -> `logits` of the converted picture, `distance` to the nearest reference
    [R, H, W]: the mean squared difference of pixels in [0, 1]; and `converted`, these pixels, flat.
    """
    graph = Graph()
    unit = _read(graph, unit=True)
    flat = graph.write(unit, [net.autoencoder.encoder, net.autoencoder.decoder])
    shape = graph.constant(np.array([-1, 1, size, size], np.int64))
    assert isinstance(net.classifier, Classifier | ExitNet)
    logits = _classify(graph, graph.add("Reshape", flat, shape), net.classifier, 255.0)
    model = graph.model(
        inputs={"image": (TensorProto.UINT8, (size, size))},
        outputs={
            "logits": (logits, (_classes(net.classifier),)),
            "distance": (_distance(graph, flat, references), ()),
            "converted": (flat, (size * size,)),
        },
    )
    path.write_bytes(model.SerializeToString())


def run_stage(path: Path, pictures: Pictures, output: str = "logits") -> Floats:
    """One output of the exported file, batch after batch, as a server computes it."""
    session = OnnxDevice().open(path)
    parts = [
        session.run([output], {"image": pictures[i : i + BATCH_ROWS]})[0]
        for i in range(0, len(pictures), BATCH_ROWS)
    ]
    values: Floats = np.concatenate(parts)
    return values


def check_stage(net: nn.Module, path: Path, pictures: Pictures) -> float:
    """The largest difference of a logit from torch's; ValueError above what is allowed."""
    wanted = predict(net, pictures)[-1]
    difference = float(np.abs(run_stage(path, pictures) - wanted).max())
    limit = PARITY_LIMIT * max(1.0, float(np.abs(wanted).max()) / 10)
    if not difference <= limit:
        raise ValueError(
            f"{path}: logits differ from torch's by {difference:.2g}, allowed is {limit:.2g}"
        )
    return difference


def _read(graph: Graph, *, unit: bool = False) -> str:
    """The picture as FP32 [N, 1, H, W], in [0, 1] with `unit`."""
    x = graph.add("Cast", "image", to=TensorProto.FLOAT)
    if unit:
        x = graph.add("Mul", x, graph.constant(np.float32(1.0 / 255.0)))
    return graph.add("Unsqueeze", x, graph.constant(np.array([1], np.int64)))


def _classify(graph: Graph, x: str, net: Classifier | ExitNet, unit: float) -> str:
    """Logits of x [N, 1, H, W], whose pixels are of that unit."""
    scale = np.array(net.scale, np.float32) * np.float32(unit)
    shift = np.array(net.shift, np.float32) / scale
    if shift.any():
        x = graph.add("Add", x, graph.constant(shift.reshape(())))
    return graph.write(x, _layers(net), scale)


def _layers(net: Classifier | ExitNet) -> Sequence[nn.Module]:
    if isinstance(net, Classifier):
        return [*net.body, nn.Flatten(), net.head]
    return [*net.segments, net.heads[-1]]


def _classes(net: nn.Module) -> int:
    last = [layer for layer in net.modules() if isinstance(layer, nn.Linear)][-1]
    return last.out_features


def _distance(graph: Graph, flat: str, references: Floats) -> str:
    """Squares of the picture, of the reference, and twice their product, each a mean."""
    goals = references.reshape(len(references), -1).astype(np.float64)
    pixels = goals.shape[1]
    products = graph.add(
        "Gemm",
        flat,
        graph.constant((goals * (-2.0 / pixels)).astype(np.float32)),
        graph.constant((goals**2).mean(axis=1).astype(np.float32)),
        transB=1,
    )
    own = graph.add("ReduceMean", graph.add("Mul", flat, flat), axes=[1], keepdims=0)
    nearest = graph.add("ReduceMin", products, axes=[1], keepdims=0)
    return graph.add("Relu", graph.add("Add", own, nearest))  # rounding may go below 0
