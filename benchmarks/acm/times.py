"""CPU time of a dense net and of one with learners in ONNX Runtime, in turns.

With one thread it is the thread's CPU time, so that other programs on the machine hardly count;
with more threads it is the time that passes. Both forms of the net with learners are timed; the
faster one over all runs is what a server would take, and only that one is compared.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch

from benchmarks.acm.names import BATCHES, THREADS, TIMED_BETAS, point, timed
from benchmarks.acm.nets import Nets, Say
from benchmarks.reporting.turns import Run, time_in_turns
from core.devices.onnx import OnnxDevice
from harness.results import Sample
from tokens.acm.network import AcmVit, count_dense
from tokens.vision_transformer import VisionTransformer
from training.export.acm_graph import export_acm
from training.export.acm_route import count_ran
from training.export.transformers import export_vit
from training.token_baselines.early_exits import ExitVit
from training.token_baselines.merging import MergingVit
from training.token_baselines.methods import SIZES

BASELINE_ROWS = 64
TIMED_MERGED = 6
TIMED_THRESHOLD = 0.95
LEAST_ROWS = 16  # of all repeats of a round: long enough for the clock

Pictures = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Pair:
    """Sessions of a dense net and of one with learners, with so many threads."""

    net: AcmVit
    dense: onnxruntime.InferenceSession
    acm: onnxruntime.InferenceSession
    threads: int

    def list_runs(self, pictures: Pictures, beta: float) -> list[Run]:
        """The dense net, and both forms of the other: masked, sorted."""

        def run(is_sorted: bool) -> Run:
            feed = make_feed(pictures, beta, is_sorted)
            return lambda: self.acm.run(["logits", "learners"], feed)

        return [
            lambda: self.dense.run(["logits"], {"image": pictures}), run(False), run(True)
        ]  # fmt: skip


def open_pair(
    dense: VisionTransformer, net: AcmVit, work: Path, threads: int, name: str = "pair"
) -> Pair:
    """Export both into `work`, and open them."""
    paths = work / f"{name}-dense.onnx", work / f"{name}-acm.onnx"
    export_vit(dense, paths[0])
    export_acm(net, paths[1])
    device = OnnxDevice(threads=threads)
    return Pair(net, device.open(paths[0]), device.open(paths[1]), threads)


def make_feed(pictures: Pictures, beta: float, is_sorted: bool) -> dict[str, Any]:
    """The inputs of a net with learners."""
    column = np.full(len(pictures), beta, np.float32)
    return {"image": pictures, "beta": column, "sorted": np.array(is_sorted)}


def time_pair(
    case: str, pair: Pair, pictures: Pictures, beta: float, runs: int, rounds: int
) -> Iterator[Sample]:
    """All samples of one case: times a picture, the ratio run by run, and the shares of MACs."""
    clock = time.thread_time if pair.threads == 1 else time.perf_counter
    listed = pair.list_runs(pictures, beta)
    times = [
        time_in_turns(listed, len(pictures), rounds, clock, least_rows=LEAST_ROWS)
        for _ in range(runs)
    ]
    dense, masked, ordered = (np.array(one) for one in zip(*times, strict=True))
    is_sorted = bool(np.median(ordered) <= np.median(masked))
    for run in range(runs):
        yield Sample(case, run, "dense_us", 1e6 * dense[run])
        yield Sample(case, run, "masked_us", 1e6 * masked[run])
        yield Sample(case, run, "sorted_us", 1e6 * ordered[run])
        faster = ordered[run] if is_sorted else masked[run]
        yield Sample(case, run, "ratio", faster / dense[run])
    _, learners = pair.acm.run(["logits", "learners"], make_feed(pictures, beta, True))
    sums, whole = learners.sum(axis=1), count_dense(pair.net.spec)
    yield Sample(case, 0, "chosen_ratio", float(pair.net.cost().count_sums(sums).mean()) / whole)
    yield Sample(case, 0, "ran_ratio", float(count_ran(pair.net, sums).mean()) / whole)


def time_nets(
    nets: Nets, pictures: Pictures, work: Path, runs: int, rounds: int, say: Say
) -> Iterator[Sample]:
    """The dense net and the net for every budget: batches, budgets and numbers of threads."""
    if nets.acm is None:
        return
    for threads in THREADS:
        pair = open_pair(nets.dense, nets.acm, work, threads)
        for rows in BATCHES:
            for beta in TIMED_BETAS:
                case = timed(rows, beta, threads)
                say(f"timing {case}")
                yield from time_pair(case, pair, pictures[:rows], beta, runs, rounds)


def time_baselines(
    nets: Nets, pictures: Pictures, work: Path, runs: int, rounds: int
) -> Iterator[Sample]:
    """Their time over the dense net's, in one batch and one thread.

    Smaller nets run in ONNX Runtime. Exits and merged tokens run in torch, beside the dense net in
    torch: they have no exported form.
    """
    pictures = pictures[:BASELINE_ROWS].copy()
    exported: dict[str, Run] = {"dense": _run_exported(nets.dense, pictures, work, "dense")}
    for name, net in nets.baselines.items():
        if name in SIZES and isinstance(net, VisionTransformer):
            case = point("smaller", name.removeprefix("smaller-"))
            exported[case] = _run_exported(net, pictures, work, name)
            share = count_dense(net.spec) / count_dense(nets.dense.spec)
            yield Sample(case, 0, "timed_share", share)
    tensor = torch.from_numpy(pictures)
    others: dict[str, Run] = {"dense": lambda: nets.dense(tensor)}
    for name, net in nets.baselines.items():
        if isinstance(net, ExitVit):
            others[_name_exits(name)] = partial(net.answer_early, tensor, TIMED_THRESHOLD)
    merging = nets.baselines.get("merging")
    trunk = merging.trunk if isinstance(merging, MergingVit) else nets.dense
    case = point("merging" if merging else "merging-untrained", f"timed, {TIMED_MERGED} a layer")
    merged = MergingVit(trunk, TIMED_MERGED).eval()
    others[case] = lambda: merged(tensor)
    yield from _compare_times(exported, runs, rounds)
    with torch.inference_mode():
        yield from _compare_times(others, runs, rounds)
        yield from _count(nets, merged, case, tensor)


def _compare_times(listed: Mapping[str, Run], runs: int, rounds: int) -> Iterator[Sample]:
    for run in range(runs):
        dense, *times = time_in_turns(
            list(listed.values()), BASELINE_ROWS, rounds, least_rows=LEAST_ROWS
        )
        for case, seconds in zip([*listed][1:], times, strict=True):
            yield Sample(case, run, "time_ratio", seconds / dense)


def _count(nets: Nets, merged: MergingVit, case: str, pictures: torch.Tensor) -> Iterator[Sample]:
    """The MACs of what was timed in torch."""
    whole = count_dense(nets.dense.spec)
    yield Sample(case, 0, "timed_share", merged.macs(TIMED_MERGED) / whole)
    for name, net in nets.baselines.items():
        if isinstance(net, ExitVit):
            _, left = net.answer_early(pictures, TIMED_THRESHOLD)
            macs = float(np.array(net.macs())[left.numpy()].mean())
            yield Sample(_name_exits(name), 0, "timed_share", macs / whole)


def _run_exported(net: VisionTransformer, pictures: Pictures, work: Path, name: str) -> Run:
    path = work / f"{name}.onnx"
    export_vit(net, path)
    session = OnnxDevice().open(path)
    return lambda: session.run(["logits"], {"image": pictures})


def _name_exits(name: str) -> str:
    return point(name, f"timed at threshold {TIMED_THRESHOLD:g}")
