"""What becomes of a canary that is like the stable version, worse, or hardly asked."""

import math
from collections.abc import Sequence

import pytest

from sparing.rollout.comparing import Check, Limits, compare, judge
from sparing.rollout.samples import Buckets, Sample, Samples

BOUNDS = (0.001, 0.01, 0.1, math.inf)
LIMITS = Limits()


def sample(
    ok: int = 10_000,
    times: Sequence[int] = (1000, 8000, 990, 10),
    joules: Sequence[int] = (),
    **failed: int,
) -> Sample:
    results = {"ok": ok, **failed}
    return Sample(results, make_buckets(times), make_buckets(joules), rows=sum(times))


def make_buckets(counts: Sequence[int]) -> Buckets:
    middles = (0.0005, 0.005, 0.05, 0.5)
    total = sum(a * b for a, b in zip(counts, middles, strict=False))
    return Buckets(BOUNDS, counts, total) if counts else Buckets()


def run(stable: Sample, canary: Sample) -> tuple[str, dict[str, Check]]:
    checks = compare(Samples(stable, canary), LIMITS)
    return judge(checks), {check.name.partition(" than")[0]: check for check in checks}


def test_a_like_canary_holds() -> None:
    verdict, checks = run(sample(), sample(ok=1000, times=(100, 800, 99, 1)))
    assert verdict == "holds"
    assert all(check.why == "" for check in checks.values())


@pytest.mark.parametrize(
    ("canary", "name"),
    [
        (sample(ok=900, times=(100, 800, 99, 1), StageFailed=100), "failed requests"),
        (sample(ok=900, times=(100, 800, 99, 1), InvalidInput=100), "refused requests"),
        (sample(ok=1000, times=(0, 500, 490, 10)), "latency"),
        (sample(ok=1000, times=(100, 800, 20, 80)), "slower"),
    ],
)
def test_a_canary_that_is_worse_in_one_way_is_worse(canary: Sample, name: str) -> None:
    verdict, checks = run(sample(), canary)
    assert verdict == "worse"
    assert checks[name].verdict == "worse"
    assert checks[name].p < LIMITS.alpha


def test_joules_are_compared_where_they_are_measured() -> None:
    usual, small = (1000, 8000, 1000, 0), (100, 800, 100, 0)
    assert "energy of a row" not in run(sample(), sample(ok=1000))[1]
    times = (100, 800, 99, 1)
    held = run(sample(joules=usual), sample(ok=1000, times=times, joules=small))
    assert held[0] == "holds"
    worse = run(sample(joules=usual), sample(ok=1000, times=times, joules=(0, 500, 500, 0)))
    assert worse[1]["energy of a row"].verdict == "worse"


def test_too_few_requests_decide_nothing_even_where_all_is_well() -> None:
    verdict, checks = run(sample(), sample(ok=50, times=(5, 40, 5, 0)))
    assert verdict == "undecided"
    assert "needs 300 requests" in checks["failed requests"].why
    assert "needs 300 computed answers" in checks["latency"].why


def test_few_requests_can_show_that_a_canary_is_broken() -> None:
    assert run(sample(), sample(ok=0, times=(), StageFailed=20))[0] == "worse"


def test_without_any_request_nothing_is_decided() -> None:
    assert run(Sample(), Sample())[0] == "undecided"
    assert run(sample(), Sample())[0] == "undecided"


def test_clients_that_left_count_neither_way() -> None:
    canary = sample(ok=1000, times=(100, 800, 99, 1), ClientGone=900)
    assert canary.requests == 1000
    assert run(sample(), canary)[0] == "holds"


def test_a_failure_rate_that_may_be_too_high_is_undecided() -> None:
    verdict, checks = run(sample(), sample(ok=398, times=(40, 320, 40, 0), StageFailed=2))
    assert verdict == "undecided"
    assert "allowed 1.00%" in checks["failed requests"].why


def test_what_came_before_a_baseline_does_not_count() -> None:
    before = sample(ok=500, times=(50, 400, 45, 5), StageFailed=90)
    after = sample(ok=1500, times=(150, 1200, 144, 6), StageFailed=90)
    grown = after.since(before)
    assert (grown.requests, grown.failed) == (1000, 0)
    assert list(grown.latency.counts) == [100, 800, 99, 1]
    assert before.since(after) is before  # a server began anew
