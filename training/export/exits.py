"""A net with exits as ONNX files, one a segment: a part of the trunk, and the exit at its end.

The first takes `image`, the others `given`, the features of the one before. Each gives `logits`,
all but the last `features` too. `cascades.exits` serves such files.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from onnx import TensorProto

from core.devices.onnx import OnnxDevice
from training.export.classifiers import BATCH_ROWS, PARITY_LIMIT, read_image
from training.export.onnx_graph import Floats, Graph
from training.nets.exit_net import ExitNet
from training.nets.predicting import predict

Pictures = npt.NDArray[np.uint8]


def export_segments(net: ExitNet, paths: Sequence[Path], shape: Sequence[int]) -> None:
    """Write one file a segment, for pictures of this shape."""
    net.eval()
    x = net.normalise(torch.zeros((1, *shape), dtype=torch.uint8))
    inputs = {"image": (TensorProto.UINT8, tuple(shape))}
    parts = list(zip(net.segments, net.heads, paths, strict=True))
    for index, (segment, head, path) in enumerate(parts):
        with torch.inference_mode():
            x = segment(x)
            classes = head(x).shape[1]
        graph = Graph()
        if index == 0:
            start = read_image(graph, net.scale, net.shift)
            reached = graph.write(start, [segment], np.array(net.scale, np.float32))
        else:
            reached = graph.write("given", [segment])
        outputs = {"logits": (graph.write(reached, [head]), (classes,))}
        features = tuple(x.shape[1:])
        if index < len(parts) - 1:
            outputs["features"] = (reached, features)
        model = graph.model(inputs=inputs, outputs=outputs)
        path.write_bytes(model.SerializeToString())
        inputs = {"given": (TensorProto.FLOAT, features)}


def run_segments(paths: Sequence[Path], pictures: Pictures) -> tuple[Floats, ...]:
    """Each exit's logits [N, classes] if every row runs to the end, as a server computes them."""
    sessions = [OnnxDevice().open(path) for path in paths]
    found: list[list[Floats]] = [[] for _ in paths]
    for start in range(0, len(pictures), BATCH_ROWS):
        x: npt.NDArray[np.generic] = pictures[start : start + BATCH_ROWS]
        for session, logits in zip(sessions, found, strict=True):
            outputs = [one.name for one in session.get_outputs()]
            given = dict(
                zip(outputs, session.run(outputs, {session.get_inputs()[0].name: x}), strict=True)
            )
            logits.append(given["logits"])
            x = given.get("features", x)
    return tuple(np.concatenate(parts) for parts in found)


def check_segments(net: ExitNet, paths: Sequence[Path], pictures: Pictures) -> float:
    """The largest difference of any exit's logit from torch's; ValueError above what is allowed."""
    differences = [
        float(np.abs(ours - theirs).max())
        for ours, theirs in zip(run_segments(paths, pictures), predict(net, pictures), strict=True)
    ]
    if not max(differences) <= PARITY_LIMIT:
        raise ValueError(
            f"{paths[0]} and what follows: logits differ from torch's by {max(differences):.2g}, "
            f"allowed is {PARITY_LIMIT:.2g}"
        )
    return max(differences)
