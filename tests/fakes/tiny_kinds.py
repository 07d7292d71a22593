"""Tiny random routes of the kinds that have nets of their own: early exits and converters.

The directories are written by `harness.tiny_routes`. On `make_pictures`, some rows go on at
every stage that may send rows on, and some end there. A poison picture gives NaN.
"""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from harness.tiny_routes import SIZE, make_net, make_poison_nodes, write_route

CLASSES = 10
TARGETS = 5
MAX_DISTANCE = 0.21
CHANNELS = 4
Weights = dict[str, npt.NDArray[Any]]


def write_exits(root: Path, stages: int = 3, seed: int = 0, **arguments: Any) -> Path:
    """`stages` segments; a row takes features along that halve in size with each."""
    nets = [make_segment(index, index == stages - 1, seed) for index in range(stages)]
    arguments = {"options": {"score": "difference"}, "nets": nets, **arguments}
    return write_route(root, seed=seed, pipeline="exits", **arguments)


def write_cbnet(root: Path, seed: int = 0, *, draws: bool = False, **arguments: Any) -> Path:
    arguments = {"options": {}, "nets": [make_converter(seed, draws=draws)], **arguments}
    return write_route(root, seed=seed, pipeline="cbnet", **arguments)


def write_encoder_only(root: Path, seed: int = 0, **arguments: Any) -> Path:
    arguments = {"options": {}, **arguments}
    return write_route(root, stages=1, seed=seed, poison=True, pipeline="encoder-only", **arguments)


def write_model(root: Path, seed: int = 0, **arguments: Any) -> Path:
    """A model with an output of its own."""

    def declare(table: dict[str, Any]) -> None:
        table["outputs"] = [{"name": "logits", "datatype": "FP32", "shape": [-1, CLASSES]}]
        table["labels"] = []

    arguments = {"options": {}, "change": declare, **arguments}
    return write_route(root, stages=1, seed=seed, poison=True, pipeline="model", **arguments)


def write_multi_label(root: Path, stages: int = 3, seed: int = 0, **arguments: Any) -> Path:
    """A cascade whose nets give `CLASSES` labels each a probability of its own."""

    def declare(table: dict[str, Any]) -> None:
        table["outputs"][0] = {"name": "labels", "datatype": "BOOL", "shape": [-1, CLASSES]}
        for one in change:
            one(table)

    change = [arguments.pop("change")] if "change" in arguments else []
    thresholds = [0.25] * (stages - 1)
    arguments = {"options": {}, "thresholds": thresholds, "change": declare, **arguments}
    return write_route(
        root, stages=stages, seed=seed, poison=True, pipeline="multi-label", **arguments
    )


def write_gated(
    root: Path,
    seed: int = 0,
    *,
    max_distance: float = MAX_DISTANCE,
    agree: bool = True,
    converter: onnx.ModelProto | None = None,
    **arguments: Any,
) -> Path:
    options = {"score": "difference", "max_distance": max_distance, "agree": agree}
    arguments = {"thresholds": [0.5, 0.25], **arguments}
    light = make_net(np.random.default_rng([seed, 0]), 0, CLASSES, poison=True)
    full = make_net(np.random.default_rng([seed, 2]), 8, CLASSES, poison=True)
    arguments = {
        "options": options,
        "nets": [light, converter or make_converter(seed), full],
        **arguments,
    }
    return write_route(root, seed=seed, pipeline="cbnet-gated", **arguments)


def make_segment(index: int, is_last: bool, seed: int = 0) -> onnx.ModelProto:
    """Convolution with stride 2 and ReLU, which gives the features; a linear exit on them."""
    rng = np.random.default_rng([seed, index])
    before, after = (-(-SIZE // 2**step) for step in (index, index + 1))
    given, made = 1 if index == 0 else CHANNELS << index - 1, CHANNELS << index
    size = made * after**2
    weights: Weights = {
        "kernel": rng.normal(0, (9 * given) ** -0.5, (made, given, 3, 3)).astype(np.float32),
        **_draw_linear(rng, "exit", size, 24 / size**0.5),
    }
    if index == 0:
        nodes, inputs = _read_image(weights), [_image()]
        weights["axis"] = np.array([1], dtype=np.int64)
        nodes.append(helper.make_node("Unsqueeze", ["centred", "axis"], ["trunk"]))
    else:
        nodes, inputs = [], [_floats("trunk", given, before, before)]
    flat, logits = "flat", "sound" if index == 0 else "logits"
    nodes += [
        helper.make_node("Conv", ["trunk", "kernel"], ["maps"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["maps"], ["features"]),
        helper.make_node("Flatten", ["features"], [flat], axis=1),
        helper.make_node("Gemm", [flat, "exit_weight", "exit_bias"], [logits]),
    ]
    if index == 0:
        nodes += make_poison_nodes(weights)
    outputs = [_floats("logits", CLASSES)]
    if not is_last:
        outputs.append(_floats("features", made, after, after))
    return _make_model(nodes, inputs, outputs, weights)


def make_converter(
    seed: int = 0, poisoned: Literal["logits", "nearest"] = "logits", *, draws: bool = False
) -> onnx.ModelProto:
    """A linear converter with a sigmoid, noisy a little, a linear classifier of what it makes,
    alike that of the light stage, and the mean squared distance to the nearest of a few pictures.
    A poison picture makes NaN of the one or of the other. With `draws` the net also returns what it
    makes, as `converted`.
    """
    rng = np.random.default_rng([seed, 1])
    pixels = SIZE * SIZE
    weights: Weights = {
        **_draw_linear(rng, "convert", pixels, 4 / pixels**0.5, pixels),
        "targets": rng.random((1, TARGETS, pixels)).astype(np.float32),
        "row": np.array([1], dtype=np.int64),
    }
    weights["convert_weight"] += 8 * np.eye(pixels, dtype=np.float32)
    light = np.random.default_rng([seed, 0])
    weights["light_bias"] = light.normal(0, 0.1, CLASSES).astype(np.float32)
    weights["light_weight"] = light.normal(0, 8 / pixels**0.5, (CLASSES, pixels)).astype(np.float32)
    given = {name: "sound" if name == poisoned else name for name in ("logits", "nearest")}
    nodes = [
        *_read_image(weights),
        helper.make_node("Flatten", ["centred"], ["flat"], axis=1),
        helper.make_node("Gemm", ["flat", "convert_weight", "convert_bias"], ["sums"]),
        helper.make_node("Sigmoid", ["sums"], ["made"]),
        helper.make_node("Sub", ["made", "centre"], ["made_centred"]),
        helper.make_node(
            "Gemm", ["made_centred", "light_weight", "light_bias"], [given["logits"]], transB=1
        ),
        helper.make_node("Unsqueeze", ["made", "row"], ["made_row"]),
        helper.make_node("Sub", ["made_row", "targets"], ["gaps"]),
        helper.make_node("Mul", ["gaps", "gaps"], ["squares"]),
        helper.make_node("ReduceMean", ["squares"], ["distances"], axes=[2], keepdims=0),
        helper.make_node("ReduceMin", ["distances"], [given["nearest"]], axes=[1], keepdims=1),
        *make_poison_nodes(weights, poisoned),
        helper.make_node("Squeeze", ["nearest", "row"], ["distance"]),
    ]
    outputs = [_floats("logits", CLASSES), _floats("distance")]
    if draws:
        nodes.append(helper.make_node("Identity", ["made"], ["converted"]))
        outputs.append(_floats("converted", pixels))
    return _make_model(nodes, [_image()], outputs, weights)


def _read_image(weights: Weights) -> list[onnx.NodeProto]:
    """`float` in 0 to 255, as poison nodes need it, and `centred` around 0."""
    weights["scale"] = np.array(1 / 255, dtype=np.float32)
    weights["centre"] = np.array(0.5, dtype=np.float32)
    return [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "scale"], ["unit"]),
        helper.make_node("Sub", ["unit", "centre"], ["centred"]),
    ]


def _draw_linear(
    rng: np.random.Generator, name: str, size: int, spread: float, made: int = CLASSES
) -> Weights:
    return {
        f"{name}_weight": rng.normal(0, spread, (size, made)).astype(np.float32),
        f"{name}_bias": rng.normal(0, 0.1, made).astype(np.float32),
    }


def _image() -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", SIZE, SIZE])


def _floats(name: str, *shape: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *shape])


def _make_model(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    weights: Weights,
) -> onnx.ModelProto:
    constants = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model
