"""Choosing a cascade: within its cost, deterministic, honest on fresh rows, simple when it may be."""

import numpy as np
import numpy.typing as npt
import pytest

from cascades.selection import Choice, Member, select

ROWS = 2000
Ints = npt.NDArray[np.int64]


def _make_pool(
    seed: int, costs: tuple[float, ...] = (10.0, 30.0, 90.0, 300.0)
) -> tuple[list[Member], Ints]:
    """Members that see the same hard rows; the dearer, the better."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 6, ROWS)
    hardness = rng.gamma(1.0, 1.5, ROWS)
    members = []
    for index, cost in enumerate(costs):
        logits = rng.normal(0, 2, (ROWS, 6))
        logits[np.arange(ROWS), labels] += 6 + index - 2 * hardness + rng.normal(0, 1, ROWS)
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


def test_out_of_fold_accuracy_is_no_better_on_average_than_guessing_on_pure_noise() -> None:
    rng = np.random.default_rng(5)
    labels = rng.integers(0, 6, ROWS)
    members = [
        Member(f"net{index}", rng.normal(0, 1, (ROWS, 6)), cost)
        for index, cost in enumerate((10.0, 30.0, 90.0, 300.0))
    ]
    choice = _select(members, labels)
    assert abs(choice.chosen.accuracy - 1 / 6) < 4 * (5 / 36 / ROWS) ** 0.5


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
