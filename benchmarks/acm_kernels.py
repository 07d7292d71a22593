"""`python -m benchmarks.acm_kernels`: the kernels of a net with learners, on an accelerator.

One layer of ViT-B, 128 pictures at a time, beside the dense MLP, then the whole net beside the
dense one. Weights are random. The gates are real, and shifted so that their choices have the shares
that `--shares` gives, or a default that was made up. All is replayed from CUDA graphs, the nets in
turns; prints medians. Errors are relative to float64. Accuracy is no subject here.
"""

import argparse
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn

from tokens.acm.gate import Gate
from tokens.acm.learners import Learners, LearnerSpec
from tokens.acm.module import Acm, has_kernels
from tokens.acm.network import AcmSettings, AcmVit, count_dense
from tokens.vision_transformer import PatchSpec, VisionTransformer

VIT_B = PatchSpec(224, 1000, (0.5,) * 3, (0.5,) * 3, 768, 12, 12, 3072, patch_px=16)
LEARNERS = 4
SHARES = (0.25, 0.25, 0.2, 0.15, 0.15)  # of tokens that run 0, 1, ... learners
PICTURES, BETA = 128, 0.5
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
GATE_DEVIATION = 0.6  # of the gates' weights: makes tokens differ in their choices
SHIFTS = 300  # steps in which a gate gets its shares
TARGET_LAYER, TARGET_NET, TARGET_ERROR = 1.15, 1.7, 1e-2
ERROR_ROWS = 4096  # float64 is slow


@dataclass(frozen=True, slots=True)
class Timed:
    """Of the dense layer or net and of the one with learners."""

    dense_ms: float
    acm_ms: float
    executed: float  # share of the dense one's work, by MACs of learners or of the net


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dtype", choices=DTYPES, default="bf16")
    parser.add_argument("--pictures", type=int, default=PICTURES)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument(
        "--shares",
        type=float,
        nargs=LEARNERS + 1,
        default=SHARES,
        help="of tokens that run 0 to 4 learners",
    )
    parser.add_argument("--tune", action="store_true", help="compare sizes of tiles")
    options = parser.parse_args()
    if not has_kernels(torch.zeros(1, device="cuda" if torch.cuda.is_available() else "cpu")):
        raise SystemExit("This benchmark needs an accelerator that Triton compiles for.")
    dtype, shares = DTYPES[options.dtype], list(options.shares)
    console = Console(width=120)
    console.print(f"{torch.cuda.get_device_name()}, {options.dtype}, {options.pictures} pictures")
    torch.manual_seed(0)
    x_BTD = torch.randn(options.pictures, VIT_B.tokens, VIT_B.width, device="cuda").to(dtype)
    layer = make_layer(VIT_B.width, VIT_B.hidden, shares, x_BTD)
    show(console, "layer", measure_layer(layer, x_BTD, options.rounds), TARGET_LAYER)
    part = x_BTD.flatten(0, 1)[:ERROR_ROWS].unsqueeze(0)
    console.print(f"error: {find_error(layer, part):.1e}, target {TARGET_ERROR:g} in bf16")
    if options.tune:
        tune(console, layer, x_BTD, options.rounds)
    del layer, x_BTD
    show(console, "net", measure_net(shares, options.pictures, dtype, options.rounds), TARGET_NET)


def show(console: Console, what: str, timed: Timed, target: float) -> None:
    ratio = timed.acm_ms / timed.dense_ms
    text = f"{what}: dense {timed.dense_ms:.3f} ms, with learners {timed.acm_ms:.3f} ms, "
    text += f"executed {timed.executed:.3f}: "
    if what == "layer":
        text += f"time {ratio / timed.executed:.2f} x executed share x dense, target {target}"
    else:
        text += f"throughput {1 / ratio:.2f} x dense, target {target} at 0.5 executed"
    console.print(text, highlight=False)


def make_layer(width: int, hidden: int, shares: Sequence[float], x_BTD: Tensor) -> Acm:
    """An MLP's module whose gate chooses with these shares among these tokens."""
    spec = LearnerSpec(width, width, LEARNERS, hidden // LEARNERS, gelu=True)
    layer = Acm(Gate(width, LEARNERS, 0), [Learners(spec)])
    layer = layer.to(x_BTD.device, x_BTD.dtype).eval()
    fit_gate(layer.gate, x_BTD, shares)
    return layer


@torch.no_grad()
def fit_gate(gate: Gate, x_BTD: Tensor, shares: Sequence[float]) -> None:
    """Spread its logits, and shift them until its choices among these tokens have these shares.

    A gate that cannot choose 0 gets the other shares, in proportion.
    """
    for layer in (gate.first, gate.second, gate.last):
        nn.init.normal_(layer.weight, std=GATE_DEVIATION)
    wanted = torch.tensor(shares[gate.smallest :], device=x_BTD.device)
    wanted = wanted / wanted.sum()
    logits = gate(x_BTD, torch.full((len(x_BTD),), BETA, device=x_BTD.device))
    logits = logits.flatten(0, 1).float() - gate.last.bias.float()
    step = logits.std()
    shift = torch.zeros_like(wanted)
    for number in range(SHIFTS):
        found = (logits + shift).argmax(dim=1).bincount(minlength=len(wanted)) / len(logits)
        shift += step * (wanted - found) / (1 + number / 20)
    gate.last.bias.copy_(shift)


def measure_layer(layer: Acm, x_BTD: Tensor, rounds: int) -> Timed:
    """Gate and sort are part of the time."""
    spec = layer.replaced[0].spec
    hidden = spec.hidden * spec.learners
    dense = nn.Sequential(
        nn.Linear(spec.inputs, hidden), nn.GELU(), nn.Linear(hidden, spec.outputs)
    ).to(x_BTD.device, x_BTD.dtype)
    beta_B = torch.full((len(x_BTD),), BETA, device=x_BTD.device)
    dense_ms, acm_ms = time_in_turns([lambda: dense(x_BTD), lambda: layer(x_BTD, beta_B)], rounds)
    _, choice = layer(x_BTD, beta_B)
    executed = choice.learners_BT.float().mean().item() / spec.learners
    return Timed(dense_ms, acm_ms, executed)


@torch.no_grad()
def find_error(layer: Acm, x_BTD: Tensor) -> float:
    """Of the outputs, in float64, relative to the norm."""
    from tokens.acm.kernels import reference

    (y_BTE,), choice = layer(x_BTD, torch.full((len(x_BTD),), BETA, device=x_BTD.device))
    chosen_R = choice.learners_BT.flatten()
    expected_RE = reference.run_learners(layer.replaced[0], x_BTD.flatten(0, 1), chosen_R)
    off = (y_BTE.flatten(0, 1).double() - expected_RE).norm() / expected_RE.norm()
    return float(off)


def tune(console: Console, layer: Acm, x_BTD: Tensor, rounds: int) -> None:
    """The layer's products with tiles of other sizes."""
    from tokens.acm.kernels.choosing import choose
    from tokens.acm.kernels.products import run_learners
    from tokens.acm.kernels.tiles import choose_tiles

    learners, x_RD = layer.replaced[0], x_BTD.flatten(0, 1)
    order = choose(layer.gate, x_RD, torch.full((len(x_BTD),), BETA, device=x_BTD.device)).order
    usual = choose_tiles(x_RD.dtype, learners.spec.hidden)
    for columns, inner, warps, stages in product((128, 256), (32, 64), (4, 8), (2, 3, 4)):
        tiles = replace(usual, columns=columns, inner=inner, warps=warps, stages=stages)
        try:
            (ms,) = time_in_turns([partial(run_learners, learners, x_RD, order, tiles)], rounds)
        except Exception as error:  # of Triton, where tiles need more than a program may have
            console.print(f"{tiles}: {type(error).__name__}", highlight=False)
        else:
            console.print(f"{tiles}: {ms:.3f} ms", highlight=False)


def measure_net(shares: Sequence[float], pictures: int, dtype: torch.dtype, rounds: int) -> Timed:
    """The whole net; queries, keys and values share a gate."""
    shown = torch.randint(0, 256, (pictures, 224, 224, 3), dtype=torch.uint8, device="cuda")
    beta_B = torch.full((pictures,), BETA, device="cuda")
    dense = VisionTransformer(VIT_B).to("cuda", dtype).eval()
    net = AcmVit(VIT_B, AcmSettings(LEARNERS, shared_gate=True)).to("cuda", dtype).eval()
    fit_gates(net, shown, beta_B, shares)
    with torch.no_grad():
        _, choices = net(shown, beta_B)
    chosen = [choice.learners_BT.cpu().numpy() for choice in choices]
    executed = float(net.cost().count(chosen).mean()) / count_dense(VIT_B)
    dense_ms, acm_ms = time_in_turns([lambda: dense(shown), lambda: net(shown, beta_B)], rounds)
    return Timed(dense_ms, acm_ms, executed)


def fit_gates(net: AcmVit, pictures: Tensor, beta_B: Tensor, shares: Sequence[float]) -> None:
    """Each gate on what reaches it, in the order of the modules."""

    def fit(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        assert isinstance(module, Acm)
        fit_gate(module.gate, inputs[0], shares)

    hooks = [module.register_forward_pre_hook(fit) for module in net.modules_in_order()]
    with torch.no_grad():
        net(pictures, beta_B)
    for hook in hooks:
        hook.remove()


@torch.no_grad()
def time_in_turns(runs: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """The median time of each in ms, replayed from a CUDA graph."""
    graphs = [_capture(run) for run in runs]
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(rounds):
        for graph, spent in zip(graphs, times, strict=True):
            start, stop = (_make_event() for _ in range(2))
            start.record()
            graph.replay()
            stop.record()
            torch.cuda.synchronize()
            spent.append(start.elapsed_time(stop))
    return [statistics.median(spent) for spent in times]


def _make_event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]


def _capture(run: Callable[[], object]) -> torch.cuda.CUDAGraph:
    """After three runs aside, in which kernels are compiled."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph


if __name__ == "__main__":
    main()
