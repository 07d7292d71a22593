"""Complete, valid route directories with tiny random nets, made in milliseconds for tests.

`write_route` makes `<root>/<route>/<version>/`, so that `root` can be served as a models directory.
The nets take `image` UINT8 [N,28,28] and spread their confidence widely: on `make_pictures`, a good
part of the rows escalates at the default thresholds. Knows nothing of training.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZE = 28
Node = onnx.NodeProto


def make_pictures(count: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Seeded noise, UINT8 [N,28,28]; none of them is a poison picture."""
    pictures = np.random.default_rng(seed).integers(0, 256, (count, SIZE, SIZE), dtype=np.uint8)
    pictures[:, 0, 0] = 0
    return pictures


def make_poison() -> npt.NDArray[np.uint8]:
    """One picture, UINT8 [28,28], on which every stage written with `poison=True` answers NaN."""
    picture = np.zeros((SIZE, SIZE), dtype=np.uint8)
    picture[0, :4] = 255
    return picture


def write_route(
    root: Path,
    route: str = "tiny",
    version: str = "1",
    stages: int = 2,
    seed: int = 0,
    *,
    pipeline: str = "dual-cnn",
    task: str = "classify-tiny",
    classes: int = 10,
    thresholds: Sequence[float] | None = None,
    score: str = "difference",
    combine: str = "post_check",
    max_batch: int = 32,
    width: int = 4,
    poison: bool = False,
    memory: bool = True,
    ttl_s: float = 3600.0,
    nets: Sequence[onnx.ModelProto] = (),
    options: Mapping[str, Any] | None = None,
    change: Callable[[dict[str, Any]], None] | None = None,
) -> Path:
    """Write the directory and return it. `thresholds`: one for each stage but the last, or 0.5.

    The first stage is linear, the others convolutional with `width`, 2 `width` ... channels (a
    large `width` makes them slow), unless other `nets` are given, one a stage. `options` replaces
    the cascade's; `change` may edit the manifest's table before it is written.
    """
    directory = root / route / version
    directory.mkdir(parents=True, exist_ok=True)
    count = len(nets) or stages
    limits = list(thresholds) if thresholds is not None else [0.5] * (count - 1)
    specs: list[dict[str, Any]] = []
    for index in range(count):
        channels, rng = width * index, np.random.default_rng([seed, index])
        model = nets[index] if nets else make_net(rng, channels, classes, poison)
        (directory / f"stage{index}.onnx").write_bytes(model.SerializeToString())
        spec: dict[str, Any] = {
            "name": f"stage{index}",
            "file": f"stage{index}.onnx",
            "macs": _count_macs(channels, classes),
            "max_batch": max_batch,
            "temperature": 1.0 + 0.25 * index,
        }
        if index < len(limits):
            spec["threshold"] = limits[index]
        specs.append(spec)
    table: dict[str, Any] = {
        "format": 1,
        "route": route,
        "version": version,
        "task": task,
        "pipeline": pipeline,
        "description": "random nets for tests",
        "expected_macs": float(specs[0]["macs"]),
        "labels": [f"class {index}" for index in range(classes)],
        "picture": {"input": "image", "height": SIZE, "width": SIZE, "channels": 1},
        "cache": {"enabled": memory, "ttl_s": ttl_s},
        "options": {"score": score, "combine": combine} if options is None else options,
        "provenance": {"recipe": "random weights", "seed": seed},
        "inputs": [{"name": "image", "datatype": "UINT8", "shape": [-1, SIZE, SIZE]}],
        "outputs": [
            {"name": "label", "datatype": "INT64", "shape": [-1]},
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, classes]},
        ],
        "stages": specs,
        "files": {spec["file"]: describe_file(directory / spec["file"]) for spec in specs},
    }
    if change is not None:
        change(table)
    write_manifest(directory, table)
    return directory


def describe_file(path: Path) -> dict[str, Any]:
    """What `[files]` says of one file."""
    raw = path.read_bytes()
    return {"size_bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}


def write_manifest(directory: Path, table: Mapping[str, Any]) -> None:
    """Write `route.toml` from a table of scalars, lists, tables and lists of tables."""
    lines = [f"{json.dumps(key)} = {_format(value)}" for key, value in table.items()]
    (directory / "route.toml").write_text("\n".join(lines) + "\n")


def _format(value: object) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(k)} = {_format(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_format(item) for item in value) + "]"
    return "inf" if value == math.inf else json.dumps(value)


def _count_macs(channels: int, classes: int) -> int:
    if channels == 0:
        return SIZE * SIZE * classes
    positions = (SIZE // 2) ** 2
    return positions * channels * (9 + classes)


def make_net(
    rng: np.random.Generator, channels: int, classes: int, poison: bool
) -> onnx.ModelProto:
    """Linear for `channels` 0, else convolution, ReLU, linear."""
    features = channels * (SIZE // 2) ** 2 if channels else SIZE * SIZE
    weights: dict[str, npt.NDArray[Any]] = {
        "scale": np.array(1 / 255, dtype=np.float32),
        "centre": np.array(0.5, dtype=np.float32),
        "bias": rng.normal(0, 0.1, classes).astype(np.float32),
        "weight": rng.normal(0, 8 / features**0.5, (classes, features)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "scale"], ["unit"]),
        helper.make_node("Sub", ["unit", "centre"], ["centred"]),
    ]
    hidden = "centred"
    if channels:
        weights["kernel"] = rng.normal(0, 1, (channels, 1, 3, 3)).astype(np.float32)
        weights["axis"] = np.array([1], dtype=np.int64)
        nodes += [
            helper.make_node("Unsqueeze", ["centred", "axis"], ["plane"]),
            helper.make_node(
                "Conv", ["plane", "kernel"], ["maps"], strides=[2, 2], pads=[1, 1, 1, 1]
            ),
            helper.make_node("Relu", ["maps"], ["active"]),
        ]
        hidden = "active"
    logits = "sound" if poison else "logits"
    nodes += [
        helper.make_node("Flatten", [hidden], ["flat"], axis=1),
        helper.make_node("Gemm", ["flat", "weight", "bias"], [logits], transB=1),
    ]
    if poison:
        nodes += make_poison_nodes(weights)
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", SIZE, SIZE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", classes])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def make_poison_nodes(weights: dict[str, npt.NDArray[Any]], poisoned: str = "logits") -> list[Node]:
    """`sound` + 0 * log(1 - mean of the first four pixels): NaN when all four are 255."""
    weights["starts"] = np.array([0, 0], dtype=np.int64)
    weights["ends"] = np.array([1, 4], dtype=np.int64)
    weights["axes"] = np.array([1, 2], dtype=np.int64)
    weights["full"] = np.array(4 * 255, dtype=np.float32)
    weights["zero"] = np.array(0, dtype=np.float32)
    weights["last"] = np.array([1], dtype=np.int64)
    return [
        helper.make_node("Slice", ["float", "starts", "ends", "axes"], ["corner"]),
        helper.make_node("ReduceSum", ["corner", "axes"], ["sum"], keepdims=0),
        helper.make_node("Sub", ["full", "sum"], ["rest"]),
        helper.make_node("Log", ["rest"], ["log"]),
        helper.make_node("Mul", ["log", "zero"], ["nothing"]),
        helper.make_node("Unsqueeze", ["nothing", "last"], ["column"]),
        helper.make_node("Add", ["sound", "column"], [poisoned]),
    ]
