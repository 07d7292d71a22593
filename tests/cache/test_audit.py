"""The audit: who is right is hardly ever switched off, who is wrong soon; drawn by a seed."""

import math
import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.audit import SHARES, Audit, lower_bound, wealth

RATES = st.floats(1e-4, 0.5)


def make_audit(**changes: float) -> Audit:
    options = {"rate": 0.05, "burn_in": 500, "seed": 0, "max_wrong": 0.001, "delta": 0.01}
    given = options | changes
    return Audit(
        rate=given["rate"],
        burn_in=int(given["burn_in"]),
        seed=int(given["seed"]),
        max_wrong=given["max_wrong"],
        delta=given["delta"],
    )


def judge(audit: Audit, verdicts: Sequence[bool]) -> int | None:
    """After how many audits it went off."""
    for count, wrong in enumerate(verdicts, start=1):
        if audit.record(wrong=wrong):
            return count
    return None


def count_hits_until_off(audit: Audit, rate: float, seed: int, most: int) -> int | None:
    chance = random.Random(seed)
    for hit in range(1, most + 1):
        wrong = chance.random() < rate
        if audit.draw() and audit.record(wrong=wrong):
            return hit
    return None


def test_the_same_seed_draws_the_same_hits_and_another_one_others() -> None:
    def draw(seed: int) -> list[bool]:
        audit = make_audit(seed=seed)
        return [audit.draw() for _ in range(5000)]

    assert draw(7) == draw(7)
    assert draw(7) != draw(8)


def test_all_of_the_first_hits_are_audited_and_then_ever_fewer_down_to_the_rate() -> None:
    audit = make_audit(burn_in=100, rate=0.02)
    drawn = [audit.draw() for _ in range(100_000)]
    assert all(drawn[:100])
    expected = [max(0.02, 100 / hit) for hit in range(1, len(drawn) + 1)]
    for start, end in ((100, 1000), (1000, 5000), (50_000, 100_000)):
        mean = sum(expected[start:end])
        assert abs(sum(drawn[start:end]) - mean) < 5 * math.sqrt(mean)


@pytest.mark.parametrize("delta", [0.2, 0.05])
def test_a_tier_just_within_its_limit_is_rarely_ever_switched_off(delta: float) -> None:
    """The error's rate over 600 seeds, each looked at after every one of 3,000 audits."""
    limit, runs = 0.02, 600
    off = 0
    for seed in range(runs):
        chance = random.Random(seed)
        audit = make_audit(max_wrong=limit, delta=delta)
        off += judge(audit, [chance.random() < limit for _ in range(3000)]) is not None
    assert off <= runs * delta + 3 * math.sqrt(runs * delta * (1 - delta))
    assert off > 0  # and the test is not so shy that it could not be


def test_looking_after_every_audit_would_break_a_bound_made_for_one_look() -> None:
    """What the betting is for: the same stream against an exact binomial test at each look."""
    limit, delta, runs, looks = 0.02, 0.05, 200, 1500
    fooled = 0
    for seed in range(runs):
        chance = random.Random(seed)
        wrong = 0
        for count in range(1, looks + 1):
            if chance.random() < limit:
                wrong += 1
                if _binomial_tail(count, wrong, limit) < delta:
                    fooled += 1
                    break
    assert fooled > 2 * runs * delta


def _binomial_tail(count: int, wrong: int, rate: float) -> float:
    """P[at least `wrong` of `count`]."""
    below = sum(
        math.exp(math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1)
                 + k * math.log(rate) + (count - k) * math.log1p(-rate))
        for k in range(wrong)
    )  # fmt: skip
    return 1 - below


@pytest.mark.parametrize("rate", [0.03, 0.1, 0.5, 1.0])
def test_a_tier_that_is_often_wrong_is_off_within_2000_hits(rate: float) -> None:
    for seed in range(30):
        hits = count_hits_until_off(make_audit(seed=seed), rate, seed=1000 + seed, most=2000)
        assert hits is not None


def test_a_tier_that_is_always_right_is_never_switched_off() -> None:
    audit = make_audit()
    assert judge(audit, [False] * 100_000) is None
    assert audit.on and audit.lower_bound() == 0.0


@given(st.lists(st.booleans(), min_size=1, max_size=80), st.sampled_from([0.3, 0.1, 0.01]))
@settings(max_examples=100, deadline=None)
def test_it_goes_off_when_the_bound_passes_the_limit(verdicts: list[bool], limit: float) -> None:
    audit = make_audit(max_wrong=limit)
    wrong = 0
    for count, verdict in enumerate(verdicts, start=1):
        wrong += verdict
        off = audit.record(wrong=verdict)
        assert off == (lower_bound(count, wrong, 0.01) > limit)
        if off:
            return


def test_it_goes_off_once_and_what_is_recorded_later_changes_no_more_than_the_counts() -> None:
    audit = make_audit()
    assert judge(audit, [True] * 10) is not None
    assert not audit.on
    assert judge(audit, [True, False] * 10) is None
    assert not audit.on
    assert (audit.audits, audit.wrong) == (1 + 1 + 20, 1 + 1 + 10)


@given(st.lists(st.booleans(), max_size=60), RATES)
@settings(max_examples=100, deadline=None)
def test_wealth_is_what_the_bets_one_after_another_make_of_it(
    verdicts: list[bool], rate: float
) -> None:
    stakes = [1.0] * len(SHARES)
    for wrong in verdicts:
        for place, share in enumerate(SHARES):
            stakes[place] *= 1 - share + (share / rate if wrong else 0)
    mean = sum(stakes) / len(stakes)
    assert wealth(len(verdicts), sum(verdicts), rate) == pytest.approx(mean, rel=1e-9)


@given(st.integers(0, 400), st.integers(0, 60), RATES)
@settings(max_examples=100, deadline=None)
def test_a_bet_is_fair_where_the_rate_is_the_limit_and_loses_below(
    right: int, wrong: int, rate: float
) -> None:
    now = wealth(right + wrong, wrong, rate)
    after = (wealth(right + wrong + 1, wrong, rate), wealth(right + wrong + 1, wrong + 1, rate))
    for true_rate in (rate, rate / 2, 0.0):
        expected = (1 - true_rate) * after[0] + true_rate * after[1]
        assert expected <= now * (1 + 1e-9)
        if true_rate == rate:
            assert expected == pytest.approx(now, rel=1e-9)


@given(st.integers(0, 3000), st.integers(1, 200), st.sampled_from([0.1, 0.01]))
@settings(max_examples=100, deadline=None)
def test_the_bound_is_the_rate_at_which_the_audit_would_just_go_off(
    right: int, wrong: int, delta: float
) -> None:
    bound = lower_bound(right + wrong, wrong, delta)
    assert 0 <= bound <= wrong / (right + wrong) + 1e-9
    if bound > 1e-6:
        assert wealth(right + wrong, wrong, bound * 0.99) > 1 / delta
    assert wealth(right + wrong, wrong, bound * 1.01 + 1e-9) < 1 / delta


def test_the_bound_is_above_the_true_rate_as_rarely_as_it_says() -> None:
    rate, delta, runs = 0.05, 0.1, 300
    above = 0
    for seed in range(runs):
        chance = random.Random(seed)
        wrong = 0
        for count in range(1, 1001):
            if chance.random() < rate:
                wrong += 1
                if wealth(count, wrong, rate) >= 1 / delta:  # then, and only then, it is above
                    assert lower_bound(count, wrong, delta) >= rate
                    above += 1
                    break
    assert above <= runs * delta + 3 * math.sqrt(runs * delta * (1 - delta))


def test_wealth_beyond_all_numbers_is_infinite_and_no_error() -> None:
    assert wealth(10_000, 10_000, 1e-4) == math.inf
    assert lower_bound(10_000, 10_000, 0.01) > 0.99
