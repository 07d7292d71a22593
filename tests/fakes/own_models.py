"""Small ONNX models such as users bring, made with onnx's helpers, and data that they fit."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from importing.options import ImportOptions, Stage
from importing.route import Imported, import_route

SIDE = 16  # of a picture, in pixels
CLASSES = 3
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
STEPS = f"mean={':'.join(map(str, MEAN))},std={':'.join(map(str, STD))}"  # as --preprocess
LEVEL = 110 / 255  # a channel of `make_label_pictures` with a higher mean has its label
Rows = tuple[npt.NDArray[Any], npt.NDArray[Any]]  # and their labels

Weights = Mapping[str, npt.NDArray[Any]]
Value = tuple[str, int, Sequence[int | str]]  # name, type, shape


def import_own(tmp_path: Path, stages: Sequence[Stage], data: Rows, **changes: Any) -> Imported:
    """Import the route `own` into `models`, with the pictures' preprocessing and without int8."""
    options = ImportOptions(out=tmp_path / "models", compress="none", preprocess=STEPS)
    return import_route("own", stages, data, replace(options, **changes))


def make_model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[Value],
    outputs: Sequence[Value],
    weights: Weights,
    opset: int = 17,
) -> onnx.ModelProto:
    """Make a model of nodes and initializers."""
    graph = helper.make_graph(
        list(nodes),
        "own",
        [helper.make_tensor_value_info(*value) for value in inputs],
        [helper.make_tensor_value_info(*value) for value in outputs],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def make_linear(
    features: int = 8,
    classes: int = CLASSES,
    *,
    batch: int | str = "N",
    name: str = "features",
    output: str = "logits",
    end: str = "",
    seed: int = 0,
) -> onnx.ModelProto:
    """Make a linear model of float rows; `end` is an operator after it, as Softmax."""
    rng = np.random.default_rng(seed)
    weights = {
        "w": rng.normal(0, 1, (features, classes)).astype(np.float32),
        "b": rng.normal(0, 1, classes).astype(np.float32),
    }
    last = "raw" if end else output
    nodes = [helper.make_node("Gemm", [name, "w", "b"], [last])]
    if end:
        nodes.append(helper.make_node(end, ["raw"], [output]))
    return make_model(
        nodes,
        [(name, TensorProto.FLOAT, [batch, features])],
        [(output, TensorProto.FLOAT, [batch, classes])],
        weights,
    )


def make_text(classes: int = CLASSES, words: int = 50, *, mask: bool = False) -> onnx.ModelProto:
    """Make a bag of words: token ids [N, L] of `words` words, with or without a mask."""
    rng = np.random.default_rng(1)
    weights: dict[str, npt.NDArray[Any]] = {
        "table": rng.normal(0, 1, (words, 4)).astype(np.float32),
        "w": rng.normal(0, 1, (4, classes)).astype(np.float32),
        "axes": np.array([1], np.int64),
        "last": np.array([2], np.int64),
    }
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["embedded"])]
    inputs: list[Value] = [("input_ids", TensorProto.INT64, ["N", "L"])]
    summed = "embedded"
    if mask:
        inputs.append(("attention_mask", TensorProto.INT64, ["N", "L"]))
        nodes += [
            helper.make_node("Cast", ["attention_mask"], ["floats"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["floats", "last"], ["column"]),
            helper.make_node("Mul", ["embedded", "column"], ["masked"]),
        ]
        summed = "masked"
    nodes += [
        helper.make_node("ReduceSum", [summed, "axes"], ["bag"], keepdims=0),
        helper.make_node("MatMul", ["bag", "w"], ["logits"]),
    ]
    return make_model(nodes, inputs, [("logits", TensorProto.FLOAT, ["N", classes])], weights)


def make_tagger(tags: int = 2, words: int = 50) -> onnx.ModelProto:
    """Make a model of token ids [N, L] whose output is as long as its row: [N, L, tags]."""
    table = np.random.default_rng(1).normal(0, 1, (words, tags)).astype(np.float32)
    return make_model(
        [helper.make_node("Gather", ["table", "input_ids"], ["tags"])],
        [("input_ids", TensorProto.INT64, ["N", "L"])],
        [("tags", TensorProto.FLOAT, ["N", "L", tags])],
        {"table": table},
    )


def make_finder(*, rows: bool = True, features: int = 8) -> onnx.ModelProto:
    """Make a model that returns the places of the positive features of its one row: [1, any].

    Without `rows` there is no dimension for rows: [any].
    """
    nodes = [
        helper.make_node("Greater", ["features", "zero"], ["positive"]),
        helper.make_node("NonZero", ["positive"], ["places"]),
        helper.make_node("Gather", ["places", "column"], ["found"], axis=0),
    ]
    return make_model(
        nodes,
        [("features", TensorProto.FLOAT, [1 if rows else "N", features])],
        [("found", TensorProto.INT64, [1, "found"] if rows else ["found"])],
        {"zero": np.array(0, np.float32), "column": np.array([1] if rows else 1, np.int64)},
    )


def make_transformer(heads: str) -> onnx.ModelProto:
    """Make a block of a transformer, with a class token and two heads and its batch of 1 fixed.

    `heads`: split, with the batch apart; folded, as torch's MultiheadAttention does, which has the
    rows between words and heads; or lost, where no other batch than 1 gives the same words.
    """
    merged = heads != "split"
    rng = np.random.default_rng(0)
    weights: dict[str, npt.NDArray[Any]] = {
        "patch": rng.normal(0, 1, (8, 3, 4, 4)).astype(np.float32),
        "grid": np.array([1, 8, 4], np.int64),
        "token": rng.normal(0, 1, (1, 1, 8)).astype(np.float32),
        "places": rng.normal(0, 1, (1, 5, 8)).astype(np.float32),
        "split": np.array([5, 2, 4] if merged else [1, 5, 2, 4], np.int64),
        "flat": np.array([5, 8], np.int64),
        "rows": np.array([5, 1, 8], np.int64),
        "mix": rng.normal(0, 1, (8, 8)).astype(np.float32),
        "whole": np.array([1, 5, 8], np.int64),
        "first": np.array(0, np.int64),
        "w": rng.normal(0, 1, (8, 3)).astype(np.float32),
    }
    perm = [1, 0, 2] if merged else [0, 2, 1, 3]
    turned = [0, 2, 1] if merged else [0, 1, 3, 2]
    given = "by_word" if heads == "folded" else "placed"
    joining = [helper.make_node("Reshape", ["back", "whole"], ["joined"])]
    if heads == "folded":
        joining = [
            helper.make_node("Reshape", ["back", "flat"], ["words_of_rows"]),
            helper.make_node("MatMul", ["words_of_rows", "mix"], ["projected"]),
            helper.make_node("Reshape", ["projected", "rows"], ["unfolded"]),
            helper.make_node("Transpose", ["unfolded"], ["joined"], perm=[1, 0, 2]),
        ]
    nodes = [
        helper.make_node("Conv", ["x", "patch"], ["patches"], strides=[4, 4]),
        helper.make_node("Reshape", ["patches", "grid"], ["columns"]),
        helper.make_node("Transpose", ["columns"], ["words"], perm=[0, 2, 1]),
        helper.make_node("Concat", ["token", "words"], ["all"], axis=1),
        helper.make_node("Add", ["all", "places"], ["placed"]),
        helper.make_node("Transpose", ["placed"], ["by_word"], perm=[1, 0, 2]),
        helper.make_node("Reshape", [given, "split"], ["heads"]),
        helper.make_node("Transpose", ["heads"], ["q"], perm=perm),
        helper.make_node("Transpose", ["q"], ["k"], perm=turned),
        helper.make_node("MatMul", ["q", "k"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["weights"], axis=-1),
        helper.make_node("MatMul", ["weights", "q"], ["mixed"]),
        helper.make_node("Transpose", ["mixed"], ["back"], perm=perm),
        *joining,
        helper.make_node("Gather", ["joined", "first"], ["class"], axis=1),
        helper.make_node("MatMul", ["class", "w"], ["logits"]),
    ]
    return make_model(
        nodes,
        [("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [("logits", TensorProto.FLOAT, [1, 3])],
        weights,
    )


def make_picture_net(
    *,
    name: str = "input",
    output: str = "output",
    end: str = "",
    noise: float = 0.0,
    width: int = 0,
    side: int = SIDE,
    batch: int | str = "N",
    layout: str = "NCHW",
    opset: int = 17,
    seed: int = 0,
) -> onnx.ModelProto:
    """Make a net that knows the class of `make_pictures`: its brightest channel.

    It takes pictures in [0, 1], normalised with MEAN and STD. `noise` on its weights makes it
    worse; `width` channels of a convolution that changes nothing make it slower.
    """
    rng = np.random.default_rng(seed)
    gain = np.diag(STD) * 12 + rng.normal(0, 1, (3, 3)) * noise
    weights: dict[str, npt.NDArray[Any]] = {
        "w": gain.astype(np.float32),
        "b": (np.array(MEAN) * 12).astype(np.float32),
    }
    nodes: list[onnx.NodeProto] = []
    x = name
    if layout == "NHWC":
        nodes.append(helper.make_node("Transpose", [x], ["planes"], perm=[0, 3, 1, 2]))
        x = "planes"
    if width:
        kernel = np.zeros((width, 3, 3, 3), np.float32)
        kernel[[0, 1, 2], [0, 1, 2], 1, 1] = 1
        back = np.zeros((3, width, 1, 1), np.float32)
        back[[0, 1, 2], [0, 1, 2], 0, 0] = 1
        weights |= {"kernel": kernel, "back": back}
        nodes += [
            helper.make_node("Conv", [x, "kernel"], ["wide"], pads=[1, 1, 1, 1]),
            helper.make_node("Conv", ["wide", "back"], ["narrow"]),
        ]
        x = "narrow"
    last = "raw" if end else output
    nodes += [
        helper.make_node("GlobalAveragePool", [x], ["means"]),
        helper.make_node("Flatten", ["means"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w", "b"], [last]),
    ]
    if end:
        nodes.append(helper.make_node(end, ["raw"], [output], axis=1))
    shape = [batch, 3, side, side] if layout == "NCHW" else [batch, side, side, 3]
    return make_model(
        nodes,
        [(name, TensorProto.FLOAT, shape)],
        [(output, TensorProto.FLOAT, [batch, 3])],
        weights,
        opset,
    )


def make_pictures(
    rows: int, seed: int = 0, side: int = SIDE, hard: float = 0.3
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Make pictures UINT8 [N, side, side, 3] whose class is their brightest channel, and labels.

    The share `hard` of them is hardly brighter there, so that a worse net gets some wrong.
    """
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, rows)
    lead = np.where(rng.random(rows) < hard, 6.0, 60.0)
    levels = np.full((rows, 3), 100.0) + rng.normal(0, 3, (rows, 3))
    levels[np.arange(rows), labels] += lead
    noise = rng.normal(0, 20, (rows, side, side, 3))
    pictures = np.clip(levels[:, None, None, :] + noise, 0, 255).astype(np.uint8)
    return pictures, labels.astype(np.int64)


def make_label_net(*, noise: float = 0.0, width: int = 0, seed: int = 0) -> onnx.ModelProto:
    """Make a net that knows the labels of `make_label_pictures`, with a sigmoid for each; as
    `make_picture_net`.
    """
    model = make_picture_net(output="raw", noise=noise, width=width, seed=seed)
    weight, bias = (numpy_helper.to_array(one) for one in model.graph.initializer[:2])
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight * 10, "w"))
    bias = (bias * 10 - 120 * LEVEL).astype(np.float32)
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(bias, "b"))
    model.graph.node.append(helper.make_node("Sigmoid", ["raw"], ["tags"]))
    model.graph.output[0].name = "tags"
    return model


def make_label_pictures(
    rows: int, seed: int = 0
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Make pictures UINT8 [N, SIDE, SIDE, 3], and which of their channels are bright [N, 3]."""
    rng = np.random.default_rng(seed)
    levels = rng.uniform(50, 170, (rows, 1, 1, 3)) + rng.normal(0, 20, (rows, SIDE, SIDE, 3))
    pictures = np.clip(levels, 0, 255).astype(np.uint8)
    return pictures, (pictures.mean(axis=(1, 2)) > LEVEL * 255).astype(np.int64)


def save(model: onnx.ModelProto, path: Path) -> Path:
    """Write the model and return its path."""
    path.write_bytes(model.SerializeToString())
    return path
