"""A dense vision transformer as one ONNX file, and as a route of a single net.

Batch norm is folded into the stem's convolutions, and the scale of attention into the queries.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from core.classifiers.scores import fit_temperature
from tokens.vision_transformer import Block, VisionTransformer
from training.choosing.replay import accuracy
from training.data.sets import DataSet
from training.export.classifiers import check_parity, run_onnx
from training.export.cost import batch_limit, count_macs, measure_us_per_picture
from training.export.half import round_to_half
from training.export.members import Measure
from training.export.onnx_graph import Graph
from training.export.route_writer import RouteDraft, StageFiles
from training.export.transformer_layers import (
    attend,
    classify,
    describe_image,
    embed,
    gelu,
    multiply,
    normalise,
)

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
    """Round the trained net `<runs>/<name>.safetensors` to half precision, export and check it; its
    temperature comes from held-out pictures, and the test set is used once."""
    onnx = runs / f"{name}.onnx"
    weights = round_to_half(net, runs / f"{name}-half.safetensors")
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
        weights=weights,
    )
    return RouteDraft(
        route=f"{data.name}-{name}",
        task=f"{data.name}-{name}",  # its own: it must not stand in for a more accurate cascade
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
            "thresholds_from": f"{len(data.held_out.labels)} held-out pictures",
            "held_out_accuracy": accuracy(held_out, data.held_out.labels),
            "test_accuracy": accuracy(test, data.test.labels),
            "us_per_picture": [us_per_picture[COST_BATCH]],
        },
    )


def export_vit(net: VisionTransformer, path: Path) -> None:
    """Write `image` uint8 [N, S, S], or [N, S, S, 3], -> `logits` float32 [N, K]; N is free."""
    graph = Graph()
    x = embed(graph, net)
    for block in net.blocks:
        assert isinstance(block, Block)
        x = _add_block(graph, x, block)
    logits = classify(graph, x, net)
    model = graph.model(
        inputs={"image": describe_image(net.spec)},
        outputs={"logits": (logits, (net.spec.classes,))},
    )
    path.write_bytes(model.SerializeToString())


def _add_block(graph: Graph, x: str, block: Block) -> str:
    y = attend(graph, normalise(graph, x, block.attention_norm), block.attention)
    x = graph.add("Add", x, y)
    first, _, second = block.mlp
    assert isinstance(first, nn.Linear)
    assert isinstance(second, nn.Linear)
    hidden = gelu(graph, multiply(graph, normalise(graph, x, block.mlp_norm), first))
    return graph.add("Add", x, multiply(graph, hidden, second))
