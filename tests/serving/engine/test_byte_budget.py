"""Bytes against a limit, in all and of each caller."""

import pytest

from core.errors import Overloaded
from serving.engine.byte_budget import ByteBudget


def test_what_is_taken_counts_until_it_is_given_back() -> None:
    budget = ByteBudget(10)
    budget.add(7, "a")
    assert (budget.held_bytes, budget.lacks(3, "b"), budget.lacks(5, "b")) == (7, 0, 2)
    budget.add(-7, "a")
    assert (budget.held_bytes, budget.by_caller, budget.lacks(10)) == (0, {}, 0)


def test_bytes_that_do_not_fit_are_not_taken() -> None:
    budget = ByteBudget(10)
    budget.take(7)
    with pytest.raises(Overloaded, match="hold 7 bytes, allowed 10 in total"):
        budget.take(4)
    assert budget.held_bytes == 7


def test_one_caller_has_less_than_all() -> None:
    budget = ByteBudget(10, 6)
    budget.add(4, "a")
    assert (budget.lacks(3, "a"), budget.lacks(3, "b")) == (1, -3)


def test_the_sentence_names_the_limit_that_is_passed() -> None:
    budget = ByteBudget(10, 6)
    budget.add(4, "a")
    own = "requests of this caller under way hold 4 bytes, allowed 6 in total; try again"
    assert budget.describe_lack(3, "a") == own
    everybodys = "requests under way hold 4 bytes, allowed 10 in total; try again"
    assert budget.describe_lack(7, "a") == everybodys
