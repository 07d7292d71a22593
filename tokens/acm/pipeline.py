"""Adaptive Computation Modules as a route: one net whose work per token follows the row's budget.

After arXiv 2312.10193, with one net for all budgets. The request parameter `compute`, β in [0, 1],
is the share of all learners' work that the caller pays for. Rows of one batch may have different
budgets; their tokens are worked on together. The net is an ONNX graph with two branches of the same
bits, and the stage takes the branch that was measured to be the faster one for this many rows.

MACs of a row are what ran: counted from the choices where tokens are sorted, all learners where
they are masked. The output `learners` has what was chosen, in either case.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from pydantic import BaseModel, ConfigDict, Field

from core.classifiers.classifier import ClassifierHead, make_outcomes
from core.classifiers.route import ClassifierRoute, Options, Tensors, read_classifier
from core.classifiers.scores import SCORES
from core.columns import NO_NOTES, Steps
from core.devices.interface import Device
from core.explaining import EXPLAIN, RowPath
from core.messages import Array, Batch, Control
from tokens.acm.drawing import draw_learners
from tokens.acm.macs import ModuleCost, NetCost
from tokens.acm.times import RowTimes, read_times

COMPUTE = "compute"  # the request parameter
LEARNERS = "learners"  # the output, and the note for a picture
BETA_STEPS = 10
FITTED_STEPS = 20  # budgets that are fitted to a request's limits
EXITS = tuple(f"beta_{step / BETA_STEPS:.1f}" for step in range(BETA_STEPS + 1))

Budgets = npt.NDArray[np.float64]


class Sorting(BaseModel):
    """Up to this mean budget, tokens are sorted from this number of rows on."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    beta: float = Field(ge=0, le=1)
    rows: int = Field(ge=1)


class AcmOptions(Options):
    """`[options]` of the route. MACs are those of one token, but for `fixed_macs`."""

    blocks: int = Field(ge=1)
    tokens: int = Field(ge=1)
    learners: int = Field(ge=1)  # of each module
    fixed_macs: int = Field(ge=1)  # of a row, whatever is chosen
    gate_macs: list[int]  # by module
    learner_macs: list[int]  # of one learner, by module
    unsorted: list[int] = []  # modules whose learners all run even where tokens are sorted
    sorting: list[Sorting] = []  # by ascending budget, measured; none: never sorted
    times_us: list[list[float]] = []  # [beta, rows, masked, sorted], of a row; none: MACs stand in


@dataclass(frozen=True, slots=True)
class AcmStage:
    """The only stage. `run` is re-entrant: it keeps no state."""

    name: str
    session: onnxruntime.InferenceSession
    input_names: tuple[str, ...]
    head: ClassifierHead
    cost: NetCost
    blocks: int
    unsorted: tuple[int, ...]
    sorting: tuple[Sorting, ...]
    times: RowTimes | None  # measured ones
    default: float  # the budget of rows that have none

    def run(self, rows: Batch) -> Steps:
        feed: dict[str, Array] = {name: rows.inputs[name] for name in self.input_names}
        beta_N = self._read_budgets(rows, len(next(iter(feed.values()))))
        is_sorted = self.sorts(beta_N)
        feed |= {"beta": beta_N.astype(np.float32), "sorted": np.array(is_sorted)}
        logits, learners_NTM = self.session.run(("logits", LEARNERS), feed)
        found = self.head.score_rows(logits)
        sums_NM = learners_NTM.sum(axis=1)
        outcomes = make_outcomes(found.probabilities, found.scores, choose_exits(beta_N), EXITS)
        outcomes.outputs = {**outcomes.outputs, LEARNERS: self._average(sums_NM)}
        return Steps(
            len(logits),
            self.count_macs(sums_NM) if is_sorted else self.cost.most,
            outcomes,
            None if found.finite.all() else found.finite,
            notes={LEARNERS: learners_NTM} if EXPLAIN in rows.controls else NO_NOTES,
        )

    def count_macs(self, sums_NM: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """What sorted rows run [N], from the learners that were chosen for all of their tokens."""
        ran_NM = sums_NM.copy()
        for module in self.unsorted:
            ran_NM[:, module] = self.cost.tokens * self.cost.modules[module].learners
        return self.cost.count_sums(ran_NM)

    def sorts(self, beta_N: Budgets) -> bool:
        """Whether tokens of rows with these budgets are sorted: where that is the faster way."""
        mean = float(beta_N.mean())
        fitting = (one for one in self.sorting if mean <= one.beta + 1e-9)  # a sum of floats
        found = next(fitting, None)
        return found is not None and len(beta_N) >= found.rows

    def fit(self, share: float, rows: int) -> float:
        """The largest budget up to the default whose predicted cost is at most `share` of the
        default's, for a batch of so many rows; 0 if none is, and the default if none is cheaper."""
        limit = share * self.predict_cost(self.default, rows)
        steps = range(math.ceil(self.default * FITTED_STEPS) - 1, -1, -1)
        for beta in (self.default, *(step / FITTED_STEPS for step in steps)):
            if self.predict_cost(beta, rows) <= limit:
                return beta
        cheapest = self.predict_cost(0.0, rows)
        return 0.0 if cheapest < self.predict_cost(self.default, rows) else self.default

    def predict_cost(self, beta: float, rows: int) -> float:
        """Of each row in a batch in which all have this budget: its measured time in µs; without
        measured times its MACs if it keeps the budget.
        """
        is_sorted = self.sorts(np.full(rows, beta))
        if self.times is not None:
            return self.times.predict_us(beta, rows, is_sorted)
        if not is_sorted:
            return self.cost.most
        learners = sum(
            one.learner * one.learners
            for place, one in enumerate(self.cost.modules)
            if place not in self.unsorted
        )
        return self.cost.most - (1 - beta) * self.cost.tokens * learners

    def _read_budgets(self, rows: Batch, count: int) -> Budgets:
        given = rows.controls.get(COMPUTE)
        return np.full(count, self.default) if given is None else given

    def _average(self, sums_NM: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Mean learners per token in each block [N, blocks], its modules weighted by cost."""
        macs_M = np.array([module.learner for module in self.cost.modules])
        weighed = (sums_NM * macs_M).reshape(len(sums_NM), self.blocks, -1).sum(axis=2)
        wholes = macs_M.reshape(self.blocks, -1).sum(axis=1) * self.cost.tokens
        return np.asarray(weighed / wholes, np.float32)


@dataclass(frozen=True, slots=True)
class AcmPipeline:
    """The pipeline, which can draw how many learners ran for each token."""

    digest: bytes
    first: str
    stages: Mapping[str, AcmStage]
    draws: bool = True
    exits: Sequence[str] = EXITS
    budget: str = COMPUTE

    def has_budget(self, inputs: Mapping[str, Array], controls: Mapping[str, Control]) -> bool:
        return True

    def fit_budget(self, share: float, rows: int) -> float:
        return self.stages[self.first].fit(share, rows)

    def count_further(self, controls: Mapping[str, Control]) -> int:
        return 0

    def predict_share(self, value: float, rows: int) -> float:
        stage = self.stages[self.first]
        return stage.predict_cost(value, rows) / stage.predict_cost(stage.default, rows)

    def explain_picture(self, inputs: Mapping[str, Array], path: RowPath) -> np.ndarray | None:
        found = [run.notes[LEARNERS] for run in path.runs if LEARNERS in run.notes]
        if not found:
            return None
        stage = self.stages[self.first]
        (given,) = inputs.values()
        return draw_learners(np.asarray(given), np.asarray(found[-1]), stage.cost, stage.blocks)


def choose_exits(beta_N: Budgets) -> npt.NDArray[np.int64]:
    """The index in `EXITS` [N]: the smallest step that covers the budget."""
    return np.ceil(beta_N * BETA_STEPS - 1e-9).astype(np.int64)


def build(directory: Path, device: Device) -> AcmPipeline:
    """Open the net. Raises ModelDirectoryError, which names the directory and the fault."""
    route = read_classifier(directory, device, (LEARNERS,))
    route.check_stage_count(1, 1)
    options = route.read_options(AcmOptions)
    modules = len(options.gate_macs)
    if modules == 0 or len(options.learner_macs) != modules or modules % options.blocks:
        raise route.make_error(
            f"options: {options.blocks} blocks, {modules} gate_macs and "
            f"{len(options.learner_macs)} learner_macs, allowed is one of each for every module, "
            "with as many modules in every block"
        )
    if not set(options.unsorted) <= set(range(modules)):
        raise route.make_error(
            f"options.unsorted: {options.unsorted}, modules are 0 to {modules - 1}"
        )
    _check_output(route, options.blocks)
    cost = _read_cost(route, options)
    (spec,) = route.manifest.stages
    inputs: Tensors = {**route.inputs, "beta": ("FP32", (-1,)), "sorted": ("BOOL", ())}
    beside: Tensors = {LEARNERS: ("INT64", (-1, options.tokens, modules))}
    stage = AcmStage(
        spec.name,
        route.open(spec, inputs, beside),
        tuple(route.inputs),
        route.make_head(spec, SCORES[options.score]),
        cost,
        options.blocks,
        tuple(options.unsorted),
        tuple(sorted(options.sorting, key=lambda one: one.beta)),
        _read_times(route, options),
        _read_default(route),
    )
    return AcmPipeline(route.manifest.digest, spec.name, {spec.name: stage})


def _read_times(route: ClassifierRoute, options: AcmOptions) -> RowTimes | None:
    try:
        return read_times(options.times_us) if options.times_us else None
    except ValueError as error:
        raise route.make_error(f"options.times_us: {error}") from None


def _read_default(route: ClassifierRoute) -> float:
    spec = route.manifest.parameters.get(COMPUTE)
    if spec is None or (spec.type, spec.min, spec.max) != ("number", 0, 1):
        raise route.make_error(f"parameters.{COMPUTE}: needed is a number from 0 to 1")
    default: Any = spec.parse(spec.default)
    return float(default)


def _check_output(route: ClassifierRoute, blocks: int) -> None:
    (spec,) = (one for one in route.manifest.outputs if one.name == LEARNERS)
    if (spec.datatype, spec.shape) != ("FP32", (-1, blocks)):
        raise route.make_error(
            f"outputs: {LEARNERS} is {spec.datatype} {list(spec.shape)}, needed is FP32 "
            f"[-1, {blocks}], one for each block"
        )


def _read_cost(route: ClassifierRoute, options: AcmOptions) -> NetCost:
    (spec,) = route.manifest.stages
    costs = [
        ModuleCost(gate, learner, options.learners)
        for gate, learner in zip(options.gate_macs, options.learner_macs, strict=True)
    ]
    cost = NetCost(options.fixed_macs, options.tokens, tuple(costs))
    if spec.macs != cost.most:
        raise route.make_error(
            f"stage {spec.name}: has {spec.macs} MACs, all learners of its options have {cost.most}"
        )
    return cost
