"""`python -m benchmarks.token_execution`: both forms of a net with learners beside the dense net.

Random weights; gates choose at random, but by the tokens. CPU time of the thread, one thread, the
nets in turns; prints a Markdown table of medians. Accuracy is no subject here.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
import torch
from rich.console import Console

from core.devices.onnx import OnnxDevice
from tokens.acm.network import AcmSettings, AcmVit, count_dense
from tokens.vision_transformer import VisionTransformer, VitSpec
from training.export.acm_graph import export_acm
from training.export.acm_route import count_ran
from training.export.transformers import export_vit

SPEC = VitSpec(28, 10, (0.3,), (0.3,))
SETTINGS = {
    "all layers, q, k, v share a gate": AcmSettings(shared_gate=True),
    "MLPs only": AcmSettings(projections=False),
}
PICTURES = (1, 4, 16, 64)
BETA = 0.5
GATE_DEVIATION = 0.6  # of the gates' weights: makes tokens differ in their choices


class Case(NamedTuple):
    tokens: int
    dense_ms: float  # of the batch
    masked: float  # times the dense net's
    sorted: float
    macs: float  # executed where sorted, times the dense net's


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    console = Console(width=120)
    console.print("| replaced | tokens | dense ms | masked | sorted | MACs |", highlight=False)
    console.print("|---|---|---|---|---|---|", highlight=False)
    for name, settings in SETTINGS.items():
        for one in measure(settings, rounds):
            console.print(
                f"| {name} | {one.tokens:,} | {one.dense_ms:.1f} | {one.masked:.2f} | "
                f"{one.sorted:.2f} | {one.macs:.2f} |",
                highlight=False,
            )


def measure(settings: AcmSettings, rounds: int, pictures: Sequence[int] = PICTURES) -> list[Case]:
    torch.manual_seed(0)
    dense, net = VisionTransformer(SPEC).eval(), AcmVit(SPEC, settings).eval()
    for module in net.modules_in_order():
        for layer in (module.gate.first, module.gate.second, module.gate.last):
            torch.nn.init.normal_(layer.weight, std=GATE_DEVIATION)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("dense.onnx", "acm.onnx")]
        export_vit(dense, paths[0])
        export_acm(net, paths[1])
        sessions = [OnnxDevice().open(path) for path in paths]
    return [_measure_batch(net, sessions[0], sessions[1], rows, rounds) for rows in pictures]


def _measure_batch(
    net: AcmVit,
    dense: onnxruntime.InferenceSession,
    acm: onnxruntime.InferenceSession,
    rows: int,
    rounds: int,
) -> Case:
    images = np.random.default_rng(0).integers(0, 256, (rows, 28, 28), dtype=np.uint8)
    feed = {"image": images, "beta": np.full(rows, BETA, np.float32)}

    def run(is_sorted: bool) -> Any:  # onnxruntime is untyped
        return acm.run(["logits", "learners"], {**feed, "sorted": np.array(is_sorted)})

    runs: list[Callable[[], object]] = [
        lambda: dense.run(["logits"], {"image": images}),
        lambda: run(False),
        lambda: run(True),
    ]
    repeats = max(1, 16 // rows)
    seconds: list[list[float]] = [[] for _ in runs]
    for _ in range(rounds + 1):
        for one, spent in zip(runs, seconds, strict=True):
            started = time.thread_time()
            for _ in range(repeats):
                one()
            spent.append((time.thread_time() - started) / repeats)
    dense_s, masked_s, sorted_s = (statistics.median(spent[1:]) for spent in seconds)
    macs = float(count_ran(net, run(True)[1].sum(axis=1)).mean() / count_dense(SPEC))
    return Case(rows * SPEC.tokens, dense_s * 1e3, masked_s / dense_s, sorted_s / dense_s, macs)


if __name__ == "__main__":
    main()
