"""A trained net with learners as a route: exported, checked, both forms timed, judged by budget."""

import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch

from core.classifiers.scores import fit_temperature
from core.devices.onnx import OnnxDevice
from tokens.acm.network import AcmVit, count_dense
from training.choosing.replay import accuracy
from training.data.sets import DataSet
from training.export.acm_graph import export_acm, sorts
from training.export.classifiers import PARITY_LIMIT
from training.export.half import round_to_half
from training.export.onnx_graph import Floats
from training.export.route_writer import RouteDraft, StageFiles

BETAS = (0.0, 0.1, 0.25, 0.35, 0.5, 0.6, 0.75, 1.0)
DEFAULT_BETA = 0.5
PARITY_ROWS, RUN_ROWS = 500, 50
LEAST_AGREEING = 0.99  # pictures all of whose tokens choose as in torch; ties fall either way
BATCH_TOKENS = 1024  # enough for sorted tokens to pay: measured, see docs/reports/acm.md
MAX_BATCH_ROWS = 64
ROUNDS, CLEARLY = 7, 0.98

COMPUTE: Mapping[str, Any] = {
    "type": "number",
    "default": DEFAULT_BETA,
    "min": 0,
    "max": 1,
    "description": "the share of all learners' work that a row may use",
}

Pictures = npt.NDArray[np.uint8]


class FormTimes(NamedTuple):
    """CPU time of both forms, in µs a picture."""

    masked_us: float
    sorted_us: float


Times = Mapping[tuple[float, int], FormTimes]  # by budget and rows
MeasureForms = Callable[[Path, Pictures, Sequence[float], Sequence[int]], Times]


@dataclass(frozen=True, slots=True)
class Ran:
    """A net's answers at one budget; for each picture the MACs that its choices stand for, as the
    paper counts, and those that run if its tokens are sorted."""

    logits: Floats
    chosen_macs: npt.NDArray[np.int64]
    macs: npt.NDArray[np.int64]


def measure_forms(
    path: Path, pictures: Pictures, betas: Sequence[float], batches: Sequence[int]
) -> Times:
    """The median CPU time of the thread, both forms in turns, on these pictures."""
    session = OnnxDevice().open(path)
    return {
        (beta, rows): FormTimes(*_measure_pair(session, pictures[:rows], beta))
        for beta in betas
        for rows in batches
    }


def choose_sorting(times: Times) -> list[dict[str, float]]:
    """For each budget the rows from which sorting was clearly faster, and stayed so; `[options]`
    of the route. A smaller budget sorts no later than a larger one."""
    found: list[dict[str, float]] = []
    limit = 0
    for beta in sorted({beta for beta, _ in times}, reverse=True):
        for rows in sorted((rows for one, rows in times if one == beta), reverse=True):
            masked_us, sorted_us = times[beta, rows]
            if sorted_us >= CLEARLY * masked_us:
                break
            limit = rows if limit == 0 else min(limit, rows)
        if limit:
            found.append({"beta": beta, "rows": limit})
    return found[::-1]


def describe_cost(net: AcmVit) -> dict[str, Any]:
    """The part of a route's `[options]` from which its MACs are counted."""
    cost = net.cost()
    return {
        "blocks": net.spec.layers,
        "tokens": cost.tokens,
        "learners": net.settings.learners,
        "fixed_macs": cost.fixed,
        "gate_macs": [module.gate for module in cost.modules],
        "learner_macs": [module.learner for module in cost.modules],
        "unsorted": list_unsorted(net),
    }


def make_route(
    net: AcmVit,
    data: DataSet,
    runs: Path,
    name: str,
    making: Mapping[str, Any],
    measure: MeasureForms = measure_forms,
) -> RouteDraft:
    """Round the trained net `<runs>/<name>.safetensors` to half precision, export and check it. Its
    temperature comes from held-out pictures at the default budget, and the test set is used once
    for each budget."""
    onnx = runs / f"{name}.onnx"
    weights = round_to_half(net, runs / f"{name}-half.safetensors")
    export_acm(net.eval(), onnx)
    parity = check_acm_parity(net, onnx, data.held_out.pictures[:PARITY_ROWS])
    held_out = run_acm(net, onnx, data.held_out.pictures, DEFAULT_BETA)
    test = [run_acm(net, onnx, data.test.pictures, beta) for beta in BETAS]
    max_batch = choose_max_batch(net.spec.tokens)
    batches = [2**power for power in range(max_batch.bit_length())]
    times = measure(onnx, data.held_out.pictures, BETAS, batches)
    summary = json.loads((runs / f"{name}.json").read_text())
    stage = StageFiles(
        name,
        onnx,
        summary,
        net.cost().most,
        fit_temperature(held_out.logits, data.held_out.labels),
        None,
        max_batch=max_batch,
        weights=weights,
    )
    return RouteDraft(
        route=f"{data.name}-{name}",
        task=f"{data.name}-{name}",  # its own: its accuracy depends on the budget
        pipeline="acm",
        description=f"{data.name}, a vision transformer that chooses the work for each token.",
        expected_macs=float(held_out.macs.mean()),
        shape=data.train.pictures.shape[1:],
        labels=data.source.labels,
        stages=[stage],
        options={
            "score": "max_probability",
            **describe_cost(net),
            "sorting": choose_sorting(times),
            "times_us": [
                [beta, rows, round(one.masked_us, 1), round(one.sorted_us, 1)]
                for (beta, rows), one in times.items()
            ],
        },
        parameters={"compute": COMPUTE},
        further_outputs=[describe_output(net.spec.layers)],
        provenance={
            **making,
            "data": data.name,
            "data_identity": data.identity,
            "seed": summary["seed"],
            "epochs": [summary["epochs"]],
            "training_precision": [summary["precision"]],
            "parity": parity,
            "thresholds_from": f"{len(data.held_out.labels)} held-out pictures",
            "held_out_accuracy": accuracy(held_out.logits, data.held_out.labels),
            "dense_macs": count_dense(net.spec),
            "test_accuracy": accuracy(test[BETAS.index(DEFAULT_BETA)].logits, data.test.labels),
            "betas": BETAS,
            "test_accuracy_by_beta": [accuracy(one.logits, data.test.labels) for one in test],
            "test_macs_by_beta": [float(one.macs.mean()) for one in test],
            "test_chosen_macs_by_beta": [float(one.chosen_macs.mean()) for one in test],
        },
    )


def describe_output(blocks: int) -> dict[str, Any]:
    """The route's output of mean learners per block."""
    return {"name": "learners", "datatype": "FP32", "shape": [-1, blocks], "on_request": True}


def choose_max_batch(tokens: int) -> int:
    """The smallest power of two of pictures that have `BATCH_TOKENS` together, or the largest
    one that is allowed."""
    rows = 1
    while rows < MAX_BATCH_ROWS and rows * tokens < BATCH_TOKENS:
        rows *= 2
    return rows


def run_acm(net: AcmVit, path: Path, pictures: Pictures, beta: float) -> Ran:
    """The exported net's answers at one budget, tokens sorted, as a server computes them."""
    session = OnnxDevice().open(path)
    logits, sums = [], []
    for start in range(0, len(pictures), RUN_ROWS):
        feed = _make_feed(pictures[start : start + RUN_ROWS], beta, is_sorted=True)
        found, learners = session.run(["logits", "learners"], feed)
        logits.append(found)
        sums.append(learners.sum(axis=1))
    sums_NM = np.concatenate(sums)
    return Ran(np.concatenate(logits), net.cost().count_sums(sums_NM), count_ran(net, sums_NM))


def count_ran(net: AcmVit, sums_NM: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Each picture's MACs if its tokens are sorted, from what was chosen for all its tokens."""
    cost, ran_NM = net.cost(), sums_NM.copy()
    for place in list_unsorted(net):
        ran_NM[:, place] = cost.tokens * cost.modules[place].learners
    return cost.count_sums(ran_NM)


def list_unsorted(net: AcmVit) -> list[int]:
    """The modules whose learners all run in either form."""
    return [place for place, acm in enumerate(net.modules_in_order()) if not sorts(acm)]


def check_acm_parity(net: AcmVit, path: Path, pictures: Pictures) -> float:
    """The largest difference of a logit from torch's, of pictures whose tokens all choose alike.

    Raises ValueError above `PARITY_LIMIT`, or if too few pictures choose as in torch.
    """
    session = OnnxDevice().open(path)
    rows = [_compare(net, session, pictures[i : i + RUN_ROWS], i) for i in _starts(pictures)]
    alike, differences = (np.concatenate(column) for column in zip(*rows, strict=True))
    difference = float(differences[alike].max(initial=0.0))
    if alike.mean() < LEAST_AGREEING or not difference <= PARITY_LIMIT:
        raise ValueError(
            f"{path}: {alike.mean():.1%} of pictures choose as in torch, logits differ by "
            f"{difference:.2g}; allowed are {LEAST_AGREEING:.0%} and {PARITY_LIMIT:.2g}"
        )
    return difference


def _starts(pictures: Pictures) -> Iterator[int]:
    return iter(range(0, len(pictures), RUN_ROWS))


@torch.no_grad()
def _compare(
    net: AcmVit, session: onnxruntime.InferenceSession, pictures: Pictures, start: int
) -> tuple[npt.NDArray[np.bool_], Floats]:
    """Which pictures choose alike, and the largest difference of each one's logits."""
    beta = BETAS[start // RUN_ROWS % len(BETAS)]
    found, learners = session.run(["logits", "learners"], _make_feed(pictures, beta, True))
    logits, choices = net(torch.from_numpy(pictures.copy()), torch.full((len(pictures),), beta))
    chosen = np.stack([choice.learners_BT.numpy() for choice in choices], axis=2)
    alike = (chosen == learners).all(axis=(1, 2))
    return alike, np.abs(found - logits.numpy()).max(axis=1)


def _make_feed(pictures: Pictures, beta: float, is_sorted: bool) -> dict[str, Any]:
    column = np.full(len(pictures), beta, np.float32)
    return {"image": pictures, "beta": column, "sorted": np.array(is_sorted)}


def _measure_pair(
    session: onnxruntime.InferenceSession, pictures: Pictures, beta: float
) -> Iterator[float]:
    """The masked form's time, and the sorted one's, in µs a picture."""
    rows = len(pictures)
    runs = max(1, 32 // rows)  # long enough for the clock
    feeds = [_make_feed(pictures, beta, is_sorted) for is_sorted in (False, True)]
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS + 1):
        for feed, spent in zip(feeds, seconds, strict=True):
            started = time.thread_time()
            for _ in range(runs):
                session.run(["logits", "learners"], feed)
            spent.append((time.thread_time() - started) / (runs * rows))
    return (statistics.median(spent[1:]) * 1e6 for spent in seconds)  # the first warms up
