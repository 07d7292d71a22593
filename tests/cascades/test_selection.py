"""Choosing a cascade: within its cost, deterministic, honest on fresh rows, simple if it may be."""

import dataclasses
import math

import numpy as np
import numpy.typing as npt
import pytest

from cascades.candidates import Candidate, Member
from cascades.selection import Choice, select
from core.classifiers.scores import SCORES, Floats

ROWS = 2000
Ints = npt.NDArray[np.int64]


def _make_pool(
    seed: int, rows: int = ROWS, costs: tuple[float, ...] = (10.0, 30.0, 90.0, 300.0)
) -> tuple[list[Member], Ints]:
    """Members that see the same hard rows; the more expensive, the better."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 6, rows)
    hardness = rng.gamma(1.0, 1.5, rows)
    members = []
    for index, cost in enumerate(costs):
        logits = rng.normal(0, 2, (rows, 6))
        logits[np.arange(rows), labels] += 6 + index - 2 * hardness + rng.normal(0, 1, rows)
        members.append(Member(f"net{index}", logits.astype(np.float32), cost))
    return members, labels


def _select(members: list[Member], labels: Ints, fraction: float = 0.4) -> Choice:
    return select(members, labels, reference="net3", max_cost_fraction=fraction)


def test_the_choice_keeps_the_allowed_cost_and_beats_every_single_affordable_member() -> None:
    members, labels = _make_pool(0)
    choice = _select(members, labels)
    assert choice.max_cost == 120
    assert choice.chosen.cost <= 120
    single = max((m.logits.argmax(axis=1) == labels).mean() for m in members if m.cost <= 120)
    assert choice.chosen.accuracy > single
    assert len(choice.chosen.thresholds) == len(choice.chosen.members) - 1


def test_the_same_pool_in_another_order_gives_the_same_choice() -> None:
    members, labels = _make_pool(1)
    assert _select(members, labels) == _select(members[::-1], labels)


def test_the_choice_is_the_cheapest_within_one_paired_standard_error_of_the_best() -> None:
    members, labels = _make_pool(2)
    robust = _select(members, labels)
    strict = select(members, labels, reference="net3", max_cost_fraction=0.4, tolerance=0.0)
    assert robust.best == strict.best
    assert strict.chosen.accuracy == strict.best.accuracy
    assert robust.chosen.cost <= strict.chosen.cost
    assert robust.chosen.accuracy <= strict.chosen.accuracy


def test_the_front_rises_in_accuracy_with_cost_and_nothing_lies_above_it() -> None:
    members, labels = _make_pool(3)
    choice = _select(members, labels)
    costs = [candidate.cost for candidate in choice.front]
    accuracies = [candidate.accuracy for candidate in choice.front]
    assert costs == sorted(costs)
    assert accuracies == sorted(set(accuracies))
    assert any(
        c.cost <= choice.best.cost and c.accuracy >= choice.best.accuracy for c in choice.front
    )


def test_when_a_cheap_member_is_never_worse_it_is_chosen_alone() -> None:
    members, labels = _make_pool(4)
    copies = [Member(member.name, members[3].logits, member.cost) for member in members]
    choice = _select(copies, labels)
    assert choice.chosen.members == ("net0",)
    assert choice.chosen.thresholds == ()
    assert choice.chosen.standard_error == 0


def _replay(candidate: Candidate, members: list[Member], labels: Ints) -> tuple[float, float]:
    """Accuracy and mean cost on any rows, one row and one stage at a time."""
    by_name = {member.name: member for member in members}
    hits, costs = 0, 0.0
    for row, label in enumerate(labels.tolist()):
        said: list[tuple[float, Floats]] = []  # score and log-probabilities of the stages that ran
        for index, name in enumerate(candidate.members):
            logits = by_name[name].logits[row].astype(float) / candidate.temperatures[index]
            logs = logits - math.log(sum(math.exp(value) for value in logits.tolist()))
            said.append((float(SCORES[candidate.score](np.exp(logs)[None])[0]), logs))
            costs += by_name[name].cost
            last = index == len(candidate.members) - 1
            if last or said[-1][0] >= candidate.thresholds[index]:
                break
        winner = {
            "post_check": lambda said: max(said, key=lambda pair: pair[0])[1],
            "last": lambda said: said[-1][1],
            "average": lambda said: sum(logs for _, logs in said),
        }[candidate.combine](said)
        hits += int(np.argmax(winner)) == label
    return hits / len(labels), costs / len(labels)


def test_what_is_promised_out_of_fold_is_kept_on_fresh_rows() -> None:
    optimism, excess = [], []
    for seed in range(4):
        members, labels = _make_pool(seed, rows=2 * ROWS)
        seen = [Member(m.name, m.logits[:ROWS], m.cost) for m in members]
        fresh = [Member(m.name, m.logits[ROWS:], m.cost) for m in members]
        chosen = _select(seen, labels[:ROWS]).chosen
        accuracy, cost = _replay(chosen, fresh, labels[ROWS:])
        optimism.append(chosen.accuracy - accuracy)
        excess.append(cost / chosen.cost - 1)
    assert abs(np.mean(optimism)) < 0.012  # two standard errors of the mean of four differences
    assert abs(np.mean(excess)) < 0.03


def test_accuracy_is_reported_out_of_fold_and_so_without_what_the_picking_gained() -> None:
    gains = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, 6, 300)
        costs = (10.0, 30.0, 90.0, 300.0)
        noise = [
            Member(f"net{index}", rng.normal(0, 1, (300, 6)), cost)
            for index, cost in enumerate(costs)
        ]
        for candidate in _select(noise, labels).front:
            if len(candidate.members) > 1:
                gains.append(_replay(candidate, noise, labels)[0] - candidate.accuracy)
    assert np.mean(gains) > 0.001  # exactly 0 if judged on the rows they were picked on


@pytest.mark.parametrize("combine", ["post_check", "last", "average"])
def test_the_front_agrees_with_replaying_its_candidates_row_by_row(combine: str) -> None:
    members, labels = _make_pool(5)
    front = [c for c in _select(members, labels).front if len(c.members) > 1]
    candidate = dataclasses.replace(front[len(front) // 2], combine=combine)
    accuracy, cost = _replay(candidate, members, labels)
    # Thresholds were picked on all rows here and out of fold there: near, not equal.
    assert cost == pytest.approx(candidate.cost, rel=0.05)
    if combine == front[len(front) // 2].combine:
        assert accuracy == pytest.approx(candidate.accuracy, abs=0.01)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"reference": "net9", "max_cost_fraction": 0.5}, "reference"),
        ({"reference": "net3", "max_cost_fraction": 0.01}, "max_cost_fraction"),
        ({"reference": "net3", "max_cost_fraction": 0.5, "max_stages": 4}, "max_stages"),
    ],
)
def test_impossible_wishes_are_named(arguments: dict[str, object], named: str) -> None:
    members, labels = _make_pool(6)
    with pytest.raises(ValueError, match=named):
        select(members, labels, **arguments)  # type: ignore[arg-type]


def test_members_with_one_name_are_refused() -> None:
    members, labels = _make_pool(7)
    with pytest.raises(ValueError, match="distinct"):
        select([*members, members[0]], labels, reference="net3", max_cost_fraction=0.5)
