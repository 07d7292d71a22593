"""A dense vision transformer as one ONNX file, and as a route of a single net.

Batch norm is folded into the stem's convolutions, and the scale of attention into the queries. GELU
is written as the runtime's own fusion looks for it.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto
from torch import nn

from core.scores import fit_temperature
from tokens.vision_transformer import Attention, Block, VisionTransformer
from training.choosing.replay import accuracy
from training.data.sets import DataSet
from training.export.classifiers import check_parity, read_image, run_onnx
from training.export.cost import batch_limit, count_macs, measure_us_per_picture
from training.export.members import Measure
from training.export.onnx_graph import Floats, Graph, to_numpy
from training.export.route_writer import RouteDraft, StageFiles

PARITY_ROWS = 1_000
COST_BATCH = 32


def make_route(
    net: VisionTransformer,
    data: DataSet,
    runs: Path,
    name: str,
    making: Mapping[str, Any],
    measure: Measure = measure_us_per_picture,
) -> RouteDraft:
    """Export the trained net `<runs>/<name>.safetensors` and check it; its temperature comes from
    held-out pictures, and the test set is used once."""
    onnx = runs / f"{name}.onnx"
    export_vit(net, onnx)
    parity = check_parity(net, onnx, data.held_out.pictures[:PARITY_ROWS])
    macs, us_per_picture = count_macs(onnx), measure(onnx, (1, 8, COST_BATCH))
    held_out = run_onnx(onnx, data.held_out.pictures)
    test = run_onnx(onnx, data.test.pictures)
    summary = json.loads((runs / f"{name}.json").read_text())
    stage = StageFiles(
        name,
        onnx,
        summary,
        macs,
        fit_temperature(held_out, data.held_out.labels),
        None,
        max_batch=batch_limit(us_per_picture[COST_BATCH]),
    )
    return RouteDraft(
        route=f"{data.name}-{name}",
        task=f"classify-{data.name}",
        pipeline="single",
        description=f"{data.name}, a dense vision transformer of {macs / 1e6:.0f} MMACs.",
        expected_macs=macs,
        shape=data.train.pictures.shape[1:],
        labels=data.source.labels,
        stages=[stage],
        options={"score": "max_probability", "combine": "last"},
        provenance={
            **making,
            "data": data.name,
            "data_identity": data.identity,
            "seed": summary["seed"],
            "epochs": [summary["epochs"]],
            "training_precision": [summary["precision"]],
            "parity": parity,
            "held_out_accuracy": accuracy(held_out, data.held_out.labels),
            "test_accuracy": accuracy(test, data.test.labels),
            "us_per_picture": [us_per_picture[COST_BATCH]],
        },
    )


def export_vit(net: VisionTransformer, path: Path) -> None:
    """Write `image` uint8 [N, S, S], or [N, S, S, 3], -> `logits` float32 [N, K]; N is free."""
    spec, graph = net.spec, Graph()
    scale = [1.0 / (255.0 * one) for one in spec.std]
    shift = [-mean / std for mean, std in zip(spec.mean, spec.std, strict=True)]
    x = read_image(graph, scale, shift)
    x = graph.write(x, [net.stem], np.array(scale, np.float32))  # [N, D, S / 4, S / 4]
    x = _reshape(graph, x, 0, spec.width, spec.tokens)
    x = graph.add("Transpose", x, perm=[0, 2, 1])
    x = graph.add("Add", x, graph.constant(to_numpy(net.positions)))
    for block in net.blocks:
        assert isinstance(block, Block)
        x = _add_block(graph, x, block)
    # Not ReduceMean: it adds up in another order for one row than for several.
    x = graph.add("Transpose", _normalise(graph, x, net.norm), perm=[0, 2, 1])
    x = graph.add("Flatten", graph.add("GlobalAveragePool", x))
    logits = graph.write(x, [net.head])
    size = (spec.size_px, spec.size_px)
    model = graph.model(
        inputs={"image": (TensorProto.UINT8, size if len(spec.mean) == 1 else (*size, 3))},
        outputs={"logits": (logits, (spec.classes,))},
    )
    path.write_bytes(model.SerializeToString())


def _add_block(graph: Graph, x: str, block: Block) -> str:
    y = _attend(graph, _normalise(graph, x, block.attention_norm), block.attention)
    x = graph.add("Add", x, y)
    first, _, second = block.mlp
    assert isinstance(first, nn.Linear)
    assert isinstance(second, nn.Linear)
    hidden = _gelu(graph, _multiply(graph, _normalise(graph, x, block.mlp_norm), first))
    return graph.add("Add", x, _multiply(graph, hidden, second))


def _attend(graph: Graph, z: str, attention: Attention) -> str:
    width, heads = attention.q.in_features, attention.heads
    each = width // heads
    projected = [
        _reshape(graph, _multiply(graph, z, linear, factor), 0, -1, heads, each)
        for linear, factor in (
            (attention.q, 1 / math.sqrt(each)),
            (attention.k, 1.0),
            (attention.v, 1.0),
        )
    ]
    q, k, v = (
        graph.add("Transpose", one, perm=perm)
        for one, perm in zip(projected, ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]), strict=True)
    )
    weights = graph.add("Softmax", graph.add("MatMul", q, k), axis=-1)
    mixed = graph.add("Transpose", graph.add("MatMul", weights, v), perm=[0, 2, 1, 3])
    return _multiply(graph, _reshape(graph, mixed, 0, -1, width), attention.o)


def _multiply(graph: Graph, x: str, linear: nn.Linear, factor: float = 1.0) -> str:
    """The linear layer on the last axis, its result times `factor`."""
    weight: Floats = np.ascontiguousarray(to_numpy(linear.weight).T) * np.float32(factor)
    bias: Floats = to_numpy(linear.bias) * np.float32(factor)
    return graph.add("Add", graph.add("MatMul", x, graph.constant(weight)), graph.constant(bias))


def _normalise(graph: Graph, x: str, norm: nn.LayerNorm) -> str:
    weight, bias = graph.constant(to_numpy(norm.weight)), graph.constant(to_numpy(norm.bias))
    return graph.add("LayerNormalization", x, weight, bias, axis=-1, epsilon=norm.eps)


def _gelu(graph: Graph, x: str) -> str:
    """x / 2 * (1 + erf(x / √2))."""
    root = graph.constant(np.float32(math.sqrt(2)))
    one, half = graph.constant(np.float32(1)), graph.constant(np.float32(0.5))
    share = graph.add("Add", graph.add("Erf", graph.add("Div", x, root)), one)
    return graph.add("Mul", graph.add("Mul", x, share), half)


def _reshape(graph: Graph, x: str, *shape: int) -> str:
    return graph.add("Reshape", x, graph.constant(np.array(shape, np.int64)))
