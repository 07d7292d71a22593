"""One layer of the shapes of ViT-S and ViT-B, driven by how many learners trained gates chose.

Weights are random. The gates run, and the biases of their logits are fitted so that tokens choose
as often as in the trained net: for each module of a layer, its mean over the trained net's layers.
A small stem makes the tokens; both nets have it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from benchmarks.acm.names import LAYER_ROWS, THREADS, timed_layer
from benchmarks.acm.nets import Say
from benchmarks.acm.times import Pair, open_pair, time_pair
from harness.results import Sample
from tokens.acm.gate import Gate
from tokens.acm.network import AcmSettings, AcmVit
from tokens.vision_transformer import VisionTransformer, VitSpec
from training.token_choice.collapse import Choices

SIDE_PX = 56  # 196 tokens
SHAPES = {
    name: VitSpec(SIDE_PX, 10, (0.3,), (0.3,), width, 1, heads, 4 * width, stem=(4, 8, 8))
    for name, width, heads in (("ViT-S", 384, 6), ("ViT-B", 768, 12))
}
GATE_DEVIATION = 0.6  # of the gates' weights: makes tokens differ in their logits
STEPS = 300
ROUNDS_SHARE = 3  # a layer of ViT-B takes as long as hundreds of small pictures
LEAST_SHARE = 1e-4

Shares = npt.NDArray[np.float64]  # of tokens, by number of learners from 0 on: [N + 1]


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a trained net's gates chose at a budget, and the settings of the net."""

    settings: AcmSettings
    shares: dict[float, list[Shares]]  # by budget, for each module of a layer


def summarise(settings: AcmSettings, layers: int, chosen: dict[float, Choices]) -> Chosen:
    """The mean over layers of each module's choices [N, T, M]."""
    found: dict[float, list[Shares]] = {}
    for beta, chosen_NTM in chosen.items():
        modules = chosen_NTM.shape[2] // layers
        found[beta] = [
            count_shares(chosen_NTM[:, :, place::modules], settings.learners)
            for place in range(modules)
        ]
    return Chosen(settings, found)


def count_shares(chosen: npt.NDArray[np.int64], learners: int) -> Shares:
    """Of all these choices, by number of learners from 0 on."""
    return np.bincount(chosen.ravel(), minlength=learners + 1) / chosen.size


def time_layers(
    chosen: Chosen,
    work: Path,
    runs: int,
    rounds: int,
    say: Say,
    shapes: Mapping[str, VitSpec] = SHAPES,
) -> Iterator[Sample]:
    """Every shape, budget and number of threads, in batches of `LAYER_ROWS` pictures."""
    for shape, spec in shapes.items():
        for beta, shares in chosen.shares.items():
            dense, net, pictures = make_layer(spec, chosen.settings, shares, beta)
            for threads in THREADS:
                case = timed_layer(shape, beta, threads)
                say(f"timing {case}")
                pair: Pair = open_pair(dense, net, work, threads, "layer")
                yield from time_pair(case, pair, pictures, beta, runs, -(-rounds // ROUNDS_SHARE))


def make_layer(
    spec: VitSpec, settings: AcmSettings, shares: list[Shares], beta: float = 0.5
) -> tuple[VisionTransformer, AcmVit, npt.NDArray[np.uint8]]:
    """A dense net, one with learners whose tokens choose by `shares` at the budget `beta`, and
    pictures for both.
    """
    torch.manual_seed(0)
    dense, net = VisionTransformer(spec).eval(), AcmVit(spec, settings).eval()
    rng = np.random.default_rng(0)
    size = (LAYER_ROWS, spec.size_px, spec.size_px)
    pictures = rng.integers(0, 256, size, dtype=np.uint8)
    tensor = torch.from_numpy(pictures)
    for module, wanted in zip(net.modules_in_order(), shares, strict=True):
        gate = module.gate
        for layer in (gate.first, gate.second, gate.last):
            nn.init.normal_(layer.weight, std=GATE_DEVIATION)
        with torch.no_grad():
            logits_RC = _watch(net, gate, tensor, beta)
            gate.last.bias.add_(fit_biases(logits_RC, wanted[gate.smallest :]))
    return dense, net, pictures


def fit_biases(logits_RC: Tensor, wanted_C: Shares) -> Tensor:
    """What to add to the logits, so that each is the largest for a wanted share of the rows."""
    wanted = torch.from_numpy(wanted_C).clamp(min=LEAST_SHARE).log()
    biases = -logits_RC.mean(dim=0)
    scale = float((logits_RC + biases).std())
    for step in range(STEPS):
        best = (logits_RC + biases).argmax(dim=1)
        given = torch.bincount(best, minlength=len(biases)) / len(best)
        gap = wanted - given.clamp(min=LEAST_SHARE).log()
        biases += (scale * 0.5 * (1 - step / STEPS) * gap.clamp(-1, 1)).float()
    return biases


def _watch(net: AcmVit, gate: Gate, pictures: Tensor, beta: float) -> Tensor:
    """The gate's logits [R, C] in a run of the net."""
    seen: list[Tensor] = []
    hook = gate.register_forward_hook(lambda _, __, logits: seen.append(logits))
    net(pictures, torch.full((len(pictures),), beta))
    hook.remove()
    return seen[0].flatten(0, 1)
