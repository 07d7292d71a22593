"""Selects a cascade from a pool of trained models: members, order, score, thresholds and rule.

The criterion is held-out accuracy at the expected cost C_A + p_esc C_B (+ p_esc2 C_C). To select
the best of thousands of threshold tuples on a few thousand pictures overestimates the winner (one
study lost 0.44 points on fresh data). So no candidate is evaluated on the rows that selected it:

1. A candidate is a structure (chain of members, score, rule) and a budget, a fraction of the
   allowed cost. Both determine its thresholds: the most accurate within the budget, then the
   cheapest.
2. K-fold: thresholds are selected on all folds but one and tried on the fold left out. Only these
   out-of-fold rows give a candidate's accuracy and cost.
3. Among the candidates within the allowed cost, find the best out-of-fold accuracy. The choice is
   the cheapest candidate (then the one with fewest stages) at most `tolerance` paired standard
   errors below it.
4. The thresholds of the choice are selected once more, on all rows.

Folds are strided and orders are fixed, so the same input gives the same choice.
"""

import itertools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cascades.answer_kinds import ONE_LABEL, AnswerKind, Labels
from cascades.combining import CombinedAnswer
from cascades.complementarity import oracle_gap
from cascades.pairs import compare_pairs
from cascades.thresholds import (
    MAX_STAGES,
    Grades,
    GridSums,
    Trace,
    make_grid,
    select_thresholds,
    simulate,
    sum_over_grid,
)
from core.classifiers.scores import Floats

ROUNDING = 1e-9  # of sums of costs, so that the reference alone costs no more than itself
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
class Choice:
    """The chosen cascade, its reference and the alternatives."""

    chosen: Candidate
    best: Candidate  # the most accurate out of fold within the allowed cost
    front: tuple[Candidate, ...]  # the Pareto front of cost and accuracy, cheapest first
    reference_accuracy: float
    reference_cost: float
    max_cost: float
    candidates: int


@dataclass(frozen=True, slots=True)
class _Evaluation:
    """The data that all candidates are evaluated with."""

    kind: AnswerKind
    labels: Labels
    temperatures: dict[str, float]
    hits: dict[str, Grades]  # [N], of every member alone
    reference_hits: Grades


@dataclass(frozen=True, slots=True)
class _CascadeShape:
    chain: tuple[Member, ...]
    score: str
    rule: str
    trace: Trace


@dataclass(frozen=True, slots=True)
class _EvaluatedCandidate:
    candidate: Candidate
    hits: Grades  # [N], out of fold


def select(
    members: Sequence[Member],
    labels: Labels,
    *,
    reference: str,
    max_cost_fraction: float,
    folds: int = 5,
    tolerance: float = 1.0,
    max_stages: int = MAX_STAGES,
) -> Choice:
    """Select a cascade that costs at most `max_cost_fraction` of the member `reference`.

    Tries all single members, all ordered pairs and all triples in order of cost, with every score
    and rule. Raises ValueError if no candidate is cheap enough.
    """
    pool = _evaluate_pool(
        members, labels, ONE_LABEL, reference, max_cost_fraction, folds, max_stages, ()
    )
    affordable = [item for item in pool.items if item.candidate.cost <= pool.max_cost]
    if not affordable:
        raise ValueError(f"max_cost_fraction: {max_cost_fraction} given, every cascade costs more")
    best = _find_best(affordable)
    eligible = [item for item in affordable if _is_equivalent(item, best, tolerance)]
    return pool.choose(min(eligible, key=_simplicity_key), best)


def select_cheapest(
    members: Sequence[Member],
    labels: Labels,
    *,
    reference: str,
    max_loss: float,
    margin: float = 1.0,
    min_saving: float = 0.0,
    folds: int = 5,
    max_stages: int = MAX_STAGES,
    twins: Sequence[frozenset[str]] = (),
    kind: AnswerKind = ONE_LABEL,
    served: Collection[str] | None = None,
) -> Choice:
    """Select the cheapest candidate that loses at most `max_loss` of the reference's accuracy.

    Accuracy is the mean of what `kind` grades rows with. The candidate's out-of-fold loss and
    `margin` paired standard errors of it must be within `max_loss`, and it must save the share
    `min_saving` of the reference's cost; the reference alone is always eligible. No chain has two
    members of one set of `twins`.

    With `served`, candidates have only these members and may cost any amount; the reference only
    compares. Raises ValueError if all of them lose more than `max_loss`.
    """
    fraction = 1 + ROUNDING
    if served is not None:
        costs = {member.name: member.cost for member in members}
        fraction *= max(costs[name] for name in served) / costs[reference]
    pool = _evaluate_pool(
        members, labels, kind, reference, fraction, folds, max_stages, twins, served=served
    )
    if served is not None:
        losses = [pool.find_loss(item, margin) for item in pool.items]
        if min(losses) > max_loss:
            raise ValueError(
                f"at least {min(losses) * 100:.1f} points may be lost, with their standard error, "
                f"{max_loss * 100:.1f} are allowed"
            )
        kept = [item for item, loss in zip(pool.items, losses, strict=True) if loss <= max_loss]
        return pool.choose(min(kept, key=_simplicity_key), _find_best(pool.items))
    within = [item for item in pool.items if item.candidate.cost <= pool.max_cost]
    most = (1 - min_saving) * pool.reference_cost
    eligible = [
        item
        for item in within
        if item.candidate.members == (reference,)
        or (item.candidate.cost <= most and pool.find_loss(item, margin) <= max_loss)
    ]
    return pool.choose(min(eligible, key=_simplicity_key), _find_best(within))


@dataclass(frozen=True, slots=True)
class _EvaluatedPool:
    """All candidates of a pool, and what they are compared with."""

    items: Sequence[_EvaluatedCandidate]
    reference_hits: Grades
    reference_cost: float
    max_cost: float

    def find_loss(self, item: _EvaluatedCandidate, margin: float) -> float:
        """Accuracy lost against the reference, plus `margin` paired standard errors."""
        gain, error = compare_pairs(item.hits, self.reference_hits)
        return margin * error - gain

    def choose(self, chosen: _EvaluatedCandidate, best: _EvaluatedCandidate) -> Choice:
        return Choice(
            chosen=chosen.candidate,
            best=best.candidate,
            front=_find_front([item.candidate for item in self.items]),
            reference_accuracy=float(self.reference_hits.mean()),
            reference_cost=self.reference_cost,
            max_cost=self.max_cost,
            candidates=len(self.items),
        )


def _evaluate_pool(
    members: Sequence[Member],
    labels: Labels,
    kind: AnswerKind,
    reference: str,
    max_cost_fraction: float,
    folds: int,
    max_stages: int,
    twins: Sequence[frozenset[str]],
    served: Collection[str] | None = None,
) -> _EvaluatedPool:
    if not 1 <= max_stages <= MAX_STAGES:
        raise ValueError(f"max_stages: {max_stages} given, 1 to {MAX_STAGES} are allowed")
    by_name = {member.name: member for member in members}
    if len(by_name) < len(members):
        raise ValueError("members: names are not distinct")
    if reference not in by_name:
        raise ValueError(f"reference: {reference!r} given, one of {sorted(by_name)} is allowed")
    max_cost = max_cost_fraction * by_name[reference].cost
    ordered = sorted(members, key=lambda member: (member.cost, member.name))
    temperatures = {m.name: kind.fit_temperature(m.logits, labels) for m in ordered}
    hits = {m.name: kind.grade_logits(m.logits, labels) for m in ordered}
    bench = _Evaluation(kind, labels, temperatures, hits, hits[reference])
    tried = [m for m in ordered if served is None or m.name in served]
    items = [
        item
        for structure in _list_shapes(tried, bench, max_stages, max_cost, twins)
        for item in _evaluate(structure, bench, max_cost, folds)
    ]
    return _EvaluatedPool(items, hits[reference], by_name[reference].cost, max_cost)


def _find_best(items: Sequence[_EvaluatedCandidate]) -> _EvaluatedCandidate:
    return min(items, key=lambda item: (-item.candidate.accuracy, *_simplicity_key(item)))


def _simplicity_key(
    item: _EvaluatedCandidate,
) -> tuple[float, int, tuple[str, ...], str, str, float]:
    """Sort key: cheapest first, then fewest stages, then by name, so that ties are resolved."""
    candidate = item.candidate
    return (
        candidate.cost,
        len(candidate.members),
        candidate.members,
        candidate.score,
        candidate.combine,
        candidate.budget,
    )


def _is_equivalent(item: _EvaluatedCandidate, best: _EvaluatedCandidate, tolerance: float) -> bool:
    """Whether the candidate is at most `tolerance` paired standard errors less accurate."""
    lead = best.hits.astype(np.float64) - item.hits
    return bool(lead.mean() <= tolerance * lead.std() / len(lead) ** 0.5)


def _find_front(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    front: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda c: (c.cost, -c.accuracy, len(c.members))):
        if not front or candidate.accuracy > front[-1].accuracy:
            front.append(candidate)
    return tuple(front)


def _list_shapes(
    ordered: Sequence[Member],
    bench: _Evaluation,
    max_stages: int,
    max_cost: float,
    twins: Sequence[frozenset[str]],
) -> Iterator[_CascadeShape]:
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
                yield _CascadeShape(chain, score, rule, trace)


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


def _evaluate(
    structure: _CascadeShape, bench: _Evaluation, max_cost: float, folds: int
) -> Iterator[_EvaluatedCandidate]:
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
        yield _EvaluatedCandidate(candidate, hits)


def _describe(
    structure: _CascadeShape,
    bench: _Evaluation,
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
