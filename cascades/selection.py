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

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from cascades.answer_kinds import ONE_LABEL, AnswerKind, Labels
from cascades.candidates import (
    Candidate,
    EvaluatedCandidate,
    Evaluation,
    Member,
    evaluate,
    list_shapes,
)
from cascades.pairs import compare_pairs
from cascades.thresholds import (
    MAX_STAGES,
    Grades,
)

ROUNDING = 1e-9  # of sums of costs, so that the reference alone costs no more than itself


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

    items: Sequence[EvaluatedCandidate]
    reference_hits: Grades
    reference_cost: float
    max_cost: float

    def find_loss(self, item: EvaluatedCandidate, margin: float) -> float:
        """Accuracy lost against the reference, plus `margin` paired standard errors."""
        gain, error = compare_pairs(item.hits, self.reference_hits)
        return margin * error - gain

    def choose(self, chosen: EvaluatedCandidate, best: EvaluatedCandidate) -> Choice:
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
    bench = Evaluation(kind, labels, temperatures, hits, hits[reference])
    tried = [m for m in ordered if served is None or m.name in served]
    items = [
        item
        for structure in list_shapes(tried, bench, max_stages, max_cost, twins)
        for item in evaluate(structure, bench, max_cost, folds)
    ]
    return _EvaluatedPool(items, hits[reference], by_name[reference].cost, max_cost)


def _find_best(items: Sequence[EvaluatedCandidate]) -> EvaluatedCandidate:
    return min(items, key=lambda item: (-item.candidate.accuracy, *_simplicity_key(item)))


def _simplicity_key(
    item: EvaluatedCandidate,
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


def _is_equivalent(item: EvaluatedCandidate, best: EvaluatedCandidate, tolerance: float) -> bool:
    """Whether the candidate is at most `tolerance` paired standard errors less accurate."""
    lead = best.hits.astype(np.float64) - item.hits
    return bool(lead.mean() <= tolerance * lead.std() / len(lead) ** 0.5)


def _find_front(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    front: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda c: (c.cost, -c.accuracy, len(c.members))):
        if not front or candidate.accuracy > front[-1].accuracy:
            front.append(candidate)
    return tuple(front)
