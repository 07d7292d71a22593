"""A pool's trained members: exported, checked against torch, MACs counted, timed."""

import json
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from training.choosing.replay import Logits
from training.data.sets import DataSet
from training.export.classifiers import check_parity, export_onnx, run_onnx
from training.export.cost import count_macs, measure_us_per_picture
from training.nets.building import build_net
from training.nets.pools import NetSpec

BATCHES = (1, 8, 32, 64)
ROUNDS = 5
PARITY_ROWS = 1_000

Measure = Callable[[Path, Sequence[int]], dict[int, float]]


@dataclass(frozen=True, slots=True)
class Ready:
    """One member: its files, its costs and its logits on the held-out pictures."""

    name: str
    onnx: Path
    description: Mapping[str, Any]  # the net's layers and how it was trained, as JSON
    parameters: int
    macs: int
    us_per_picture: Mapping[int, float]  # by batch size; empty before it is measured
    parity: float  # the largest difference of a logit from torch's
    held_out: Logits


def make_ready(spec: NetSpec, data: DataSet, runs: Path) -> Ready:
    """Export `<runs>/<name>.onnx`, check it, count its MACs and run it on the held-out pictures.
    Its time is not measured yet.
    """
    net = build_net(spec, data)
    net.load_state_dict(load_file(runs / f"{spec.name}.safetensors"))
    net.eval()
    size = data.train.pictures.shape[1]
    onnx = runs / f"{spec.name}.onnx"
    export_onnx(net, onnx, size)
    layers = [{"layer": type(layer).__name__} | asdict(layer) for layer in spec.layers]
    training = json.loads((runs / f"{spec.name}.json").read_text())
    return Ready(
        name=spec.name,
        onnx=onnx,
        description={"layers": layers, "size": size, "classes": net.head.out_features, **training},
        parameters=sum(parameter.numel() for parameter in net.parameters()),
        macs=count_macs(onnx),
        us_per_picture={},
        parity=check_parity(net, onnx, data.held_out.pictures[:PARITY_ROWS]),
        held_out=run_onnx(onnx, data.held_out.pictures),
    )


def measure_in_turns(
    members: Mapping[str, Ready], measure: Measure = measure_us_per_picture
) -> Iterator[dict[str, Ready]]:
    """The members with their times. In each round every member has its turn, and the median of the
    rounds counts, so that a slow period of the machine does not affect one member alone. Yields
    the results so far after every round.
    """
    rounds: list[dict[str, dict[int, float]]] = []
    for _ in range(ROUNDS):
        rounds.append({name: measure(one.onnx, BATCHES) for name, one in members.items()})
        yield {
            name: replace(
                one,
                us_per_picture={
                    batch: statistics.median(times[name][batch] for times in rounds)
                    for batch in BATCHES
                },
            )
            for name, one in members.items()
        }
