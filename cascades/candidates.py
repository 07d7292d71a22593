"""Candidates of a selection: structures of cascades, and how each does on rows that it was not
selected on.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cascades.answer_kinds import ONE_LABEL, AnswerKind, Labels
from cascades.combining import CombinedAnswer
from cascades.complementarity import oracle_gap
from cascades.thresholds import (
    Grades,
    GridSums,
    Trace,
    make_grid,
    select_thresholds,
    simulate,
    sum_over_grid,
)
from core.classifiers.scores import Floats

BUDGETS = (0.3, 0.45, 0.6, 0.7, 0.8, 0.9, 1.0)  # of the allowed cost


@dataclass(frozen=True, slots=True)
class Member:
    """One trained model of the pool. `cost` is per row, in the same unit for all members."""

    name: str
    logits: npt.NDArray[np.floating]  # [N, K] on held-out rows
    cost: float


@dataclass(frozen=True, slots=True)
class Candidate:
    """A cascade, evaluated out of fold; `thresholds` are selected on all rows."""

    members: tuple[str, ...]
    score: str
    combine: str
    thresholds: tuple[float, ...]
    temperatures: tuple[float, ...]
    budget: float  # limit of the expected cost for its thresholds
    accuracy: float  # out of fold
    cost: float  # expected per row, out of fold
    standard_error: float  # of the accuracy's difference to the reference, paired
    oracle_gap: float  # the gain of a perfect choice among its members


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The data that all candidates are evaluated with."""

    kind: AnswerKind
    labels: Labels
    temperatures: dict[str, float]
    hits: dict[str, Grades]  # [N], of every member alone
    reference_hits: Grades


@dataclass(frozen=True, slots=True)
class CascadeShape:
    """A chain of members with a score and a rule; `trace` is of all rows through all stages."""

    chain: tuple[Member, ...]
    score: str
    rule: str
    trace: Trace


@dataclass(frozen=True, slots=True)
class EvaluatedCandidate:
    """A candidate, and which rows it has right."""

    candidate: Candidate
    hits: Grades  # [N], out of fold


def list_shapes(
    ordered: Sequence[Member],
    bench: Evaluation,
    max_stages: int,
    max_cost: float,
    twins: Sequence[frozenset[str]],
) -> Iterator[CascadeShape]:
    """List every structure whose first stage alone is within the cost limit."""
    chains: list[tuple[Member, ...]] = [(member,) for member in ordered]
    if max_stages > 1:
        chains += itertools.permutations(ordered, 2)
    if max_stages > 2:
        chains += itertools.combinations(ordered, 3)  # in order of cost
    kind = bench.kind
    usual = "difference" if "difference" in kind.scores else next(iter(kind.scores))
    for score in kind.scores:
        verdicts = {
            m.name: kind.answer(m.logits, bench.temperatures[m.name], kind.scores[score])
            for m in ordered
        }
        for chain, rule in itertools.product(_drop_twins(chains, twins), kind.rules):
            varied = len(chain) > 1 or (score, rule) == (usual, "post_check")
            if varied and chain[0].cost <= max_cost:
                trace = _trace(chain, verdicts, score, rule, bench.labels, kind)
                yield CascadeShape(chain, score, rule, trace)


def _drop_twins(
    chains: Sequence[tuple[Member, ...]], twins: Sequence[frozenset[str]]
) -> list[tuple[Member, ...]]:
    return [
        chain
        for chain in chains
        if all(sum(member.name in pair for member in chain) < 2 for pair in twins)
    ]


def trace_members(
    chain: Sequence[Member],
    temperatures: Sequence[float],
    score: str,
    rule: str,
    labels: Labels,
    kind: AnswerKind = ONE_LABEL,
) -> Trace:
    """Run all rows of some data through all stages of a chain, as if no row ever stopped."""
    verdicts = {
        member.name: kind.answer(member.logits, temperature, kind.scores[score])
        for member, temperature in zip(chain, temperatures, strict=True)
    }
    return _trace(chain, verdicts, score, rule, labels, kind)


def _trace(
    chain: Sequence[Member],
    verdicts: dict[str, CombinedAnswer],
    score: str,
    rule: str,
    labels: Labels,
    kind: AnswerKind,
) -> Trace:
    combined = verdicts[chain[0].name]
    hits = [kind.grade(combined.probabilities, labels)]
    for index, member in enumerate(chain[1:], 1):
        combined = kind.rules[rule](combined, verdicts[member.name], index, kind.scores[score])
        hits.append(kind.grade(combined.probabilities, labels))
    scores = [verdicts[member.name].scores for member in chain[:-1]]
    table = np.array(scores).reshape(len(chain) - 1, len(labels))
    return Trace(np.array(hits), table, tuple(member.cost for member in chain))


def evaluate(
    structure: CascadeShape, bench: Evaluation, max_cost: float, folds: int
) -> Iterator[EvaluatedCandidate]:
    """Yield one candidate for each budget that some thresholds keep."""
    trace, rows = structure.trace, len(bench.labels)
    grid = make_grid(trace)
    parts = [slice(fold, None, folds) for fold in range(folds)]
    tallies = [sum_over_grid(trace.take(part), grid) for part in parts]
    total = sum_over_grid(trace, grid)
    others = [
        GridSums(total.hits - part.hits, total.cost - part.cost, total.rows - part.rows)
        for part in tallies
    ]
    for fraction in BUDGETS if len(structure.chain) > 1 else (1.0,):
        budget = fraction * max_cost
        thresholds = select_thresholds(total, grid, budget)
        picked = [
            found
            for other in others
            if (found := select_thresholds(other, grid, budget)) is not None
        ]
        if thresholds is None or len(picked) < folds:
            continue
        hits = np.zeros(rows, dtype=trace.hits.dtype)
        costs: Floats = np.zeros(rows)
        for part, choice in zip(parts, picked, strict=True):
            hits[part], costs[part] = simulate(trace.take(part), choice)
        candidate = _describe(
            structure, bench, thresholds=thresholds, budget=budget, hits=hits, costs=costs
        )
        yield EvaluatedCandidate(candidate, hits)


def _describe(
    structure: CascadeShape,
    bench: Evaluation,
    *,
    thresholds: tuple[float, ...],
    budget: float,
    hits: Grades,
    costs: Floats,
) -> Candidate:
    names = tuple(member.name for member in structure.chain)
    lead = hits.astype(np.float64) - bench.reference_hits
    accuracy = float(hits.mean())
    return Candidate(
        members=names,
        score=structure.score,
        combine=structure.rule,
        thresholds=thresholds,
        temperatures=tuple(bench.temperatures[name] for name in names),
        budget=budget,
        accuracy=accuracy,
        cost=float(costs.mean()),
        standard_error=float(lead.std() / len(lead) ** 0.5),
        oracle_gap=oracle_gap([bench.hits[name] for name in names], accuracy),
    )
