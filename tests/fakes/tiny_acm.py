"""A tiny random route of the kind `acm`: the exported net of `training`, with random gates."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from harness.tiny_routes import SIZE, make_poison_nodes, write_route
from tokens.acm.network import AcmSettings, AcmVit
from tokens.vision_transformer import VitSpec
from training.export.acm_graph import make_model
from training.export.acm_route import COMPUTE, describe_cost

CLASSES = 10
SPEC = VitSpec(
    SIZE, CLASSES, (0.5,), (0.3,), width=16, layers=2, heads=2, hidden=32, stem=(4, 8, 8)
)
SORTING = [{"beta": 0.25, "rows": 2}, {"beta": 0.75, "rows": 8}]

Change = Callable[[dict[str, Any]], None]


def make_tiny_net(seed: int = 0) -> AcmVit:
    """Weights large enough that tokens differ in their choices, and pictures in their answers."""
    torch.manual_seed(seed)
    net = AcmVit(SPEC, AcmSettings(shared_gate=True))
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    with torch.no_grad():
        net.outer(torch.randint(0, 256, (16, SIZE, SIZE), dtype=torch.uint8))
    return net.eval()


def write_acm(
    root: Path, seed: int = 0, *, default: float = 0.5, change: Change | None = None, **more: Any
) -> Path:
    """Rows are sorted from 2 on at small budgets, from 8 on at others, and never above 0.75."""
    net = make_tiny_net(seed)
    options = {"score": "entropy", **describe_cost(net), "sorting": SORTING}

    def complete(table: dict[str, Any]) -> None:
        table["stages"][0] |= {"macs": net.cost().most, "temperature": 1.0}
        table["parameters"] = {"compute": {**COMPUTE, "default": default}}
        learners = {"name": "learners", "datatype": "FP32", "shape": [-1, SPEC.layers]}
        table["outputs"].append({**learners, "on_request": True})
        if change is not None:
            change(table)

    nets = [_add_poison(make_model(net))]
    arguments: Mapping[str, Any] = {"options": options, "nets": nets, **more}
    return write_route(root, seed=seed, pipeline="acm", change=complete, **arguments)


def _add_poison(model: onnx.ModelProto) -> onnx.ModelProto:
    """NaN on the poison picture."""
    for node in model.graph.node:
        node.output[:] = ["sound" if name == "logits" else name for name in node.output]
    weights: dict[str, Any] = {}
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        *make_poison_nodes(weights),
    ]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(
        numpy_helper.from_array(value, name) for name, value in weights.items()
    )
    onnx.checker.check_model(model, full_check=True)
    return model
