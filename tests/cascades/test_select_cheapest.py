"""The cheapest cascade within an allowed loss of accuracy."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from cascades.candidates import Member, trace_members
from cascades.selection import Choice, select_cheapest
from cascades.thresholds import simulate

ROWS, CLASSES = 600, 4
LABELS = np.arange(ROWS) % CLASSES


def _make_member(name: str, cost: float, wrong: float, seed: int) -> Member:
    """A model that is sure where it is right, and not sure where it is wrong."""
    rng = np.random.default_rng(seed)
    fails = rng.random(ROWS) < wrong
    answers = np.where(fails, (LABELS + 1) % CLASSES, LABELS)
    logits = rng.normal(0, 0.1, (ROWS, CLASSES))
    logits[np.arange(ROWS), answers] += np.where(fails, 0.5, 6.0)
    return Member(name, logits.astype(np.float32), cost)


SMALL, LARGE = _make_member("small", 1, 0.3, 0), _make_member("large", 10, 0.02, 1)
TWIN = Member("large-int8", LARGE.logits, 4)


def _select(members: list[Member], max_loss: float = 0.01, **options: Any) -> Choice:
    return select_cheapest(
        members,
        LABELS,
        reference="large",
        max_loss=max_loss,
        twins=[frozenset({"large", "large-int8"})],
        **options,
    )


def test_a_cascade_is_chosen_where_it_loses_little() -> None:
    chosen = _select([SMALL, LARGE]).chosen
    assert chosen.members == ("small", "large")
    assert chosen.cost < 6
    assert chosen.accuracy > 0.96


def test_the_reference_alone_stays_where_everything_loses_too_much() -> None:
    bad = _make_member("bad", 1, 0.7, 2)
    flat = Member("bad", np.zeros_like(bad.logits), 1)
    assert _select([flat, LARGE], max_loss=0.0).chosen.members == ("large",)


def test_the_cheapest_of_float_and_int8_is_chosen_and_no_cascade_of_twins() -> None:
    choice = _select([LARGE, TWIN])
    assert choice.chosen.members == ("large-int8",)
    assert all(len(one.members) == 1 for one in choice.front)


@pytest.mark.parametrize(("rows", "chosen"), [(100, "large"), (200, "large-int8")])
def test_few_rows_do_not_show_a_small_loss_even_where_the_answers_are_equal(
    rows: int, chosen: str
) -> None:
    members = [Member(one.name, one.logits[:rows], one.cost) for one in (LARGE, TWIN)]
    choice = select_cheapest(members, LABELS[:rows], reference="large", max_loss=0.01)
    assert choice.chosen.members == (chosen,)


@pytest.mark.parametrize(("cost", "chosen"), [(9.8, "large"), (9.0, "large-int8")])
def test_a_saving_within_noise_is_none(cost: float, chosen: str) -> None:
    twin = Member("large-int8", LARGE.logits, cost)
    assert _select([LARGE, twin], min_saving=0.05).chosen.members == (chosen,)


def test_only_served_members_are_chosen_whatever_they_cost() -> None:
    slow = Member("large-int8", LARGE.logits, 40)
    choice = _select([SMALL, LARGE, slow], served=["small", "large-int8"])
    assert set(choice.chosen.members) <= {"small", "large-int8"}
    assert _select([LARGE, slow], served=["large-int8"]).chosen.members == ("large-int8",)


def test_served_members_that_all_lose_too_much_are_a_fault() -> None:
    with pytest.raises(ValueError, match=r"points may be lost, .*, 1\.0 are allowed"):
        _select([SMALL, LARGE], served=["small"])


def test_a_reference_costs_no_more_than_itself_whatever_its_cost() -> None:
    for cost in np.random.default_rng(0).uniform(0.1, 1000, 20):
        member = Member("large", LARGE.logits, float(cost))
        assert _select([member]).chosen.members == ("large",)


def test_the_trace_of_a_choice_gives_its_answers_on_other_rows() -> None:
    chosen = _select([SMALL, LARGE]).chosen
    trace = trace_members([SMALL, LARGE], chosen.temperatures, chosen.score, chosen.combine, LABELS)
    hits: npt.NDArray[np.bool_]
    hits, costs = simulate(trace, chosen.thresholds)
    assert hits.mean() == pytest.approx(chosen.accuracy, abs=0.02)
    assert costs.mean() == pytest.approx(chosen.cost, rel=0.2)
