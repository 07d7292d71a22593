"""Compares a canary with the stable version: errors, latency, joules, and one verdict."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from sparing.rollout.samples import Buckets, Samples
from sparing.rollout.statistics import (
    bound_more_failures,
    find_bucket,
    find_failure_p,
    find_larger_p,
    find_quantile,
)

Verdict = Literal["holds", "undecided", "worse"]
_TAIL = 0.95
_FEW_SLOW = 0.005  # a share of slow answers that is no longer tail, whatever the stable version's


@dataclass(frozen=True, slots=True)
class Limits:
    """How much worse a canary may be, and how sure a verdict must be."""

    alpha: float = 0.001  # of each test; small, because there are five and they are repeated
    min_requests: int = 300  # of each version; and as many answers that were computed
    more_failures: float = 0.01  # upper bound of the difference of shares
    more_often_slower: float = 0.05  # probability of being slower, beyond a half
    longer_tail: float = 1.5  # ratio of the shares beyond the 95th percentile of the stable version
    more_joules: float = 0.10  # ratio of means, beyond 1


class Check(NamedTuple):
    """One comparison: both figures as text, the p-value of "worse", and what follows."""

    name: str
    stable: str
    canary: str
    p: float
    verdict: Verdict
    why: str = ""


def compare(samples: Samples, limits: Limits) -> list[Check]:
    """Return all checks; joules only where they are measured."""
    checks = [
        _compare_failures(samples, limits, "failed requests"),
        _compare_failures(samples, limits, "refused requests"),
        _compare_latency(samples, limits),
        _compare_tail(samples, limits),
    ]
    if samples.stable.joules.observed and samples.canary.joules.observed:
        checks.append(_compare_joules(samples, limits))
    return checks


def judge(checks: Sequence[Check]) -> Verdict:
    """Return the worst verdict of the checks."""
    verdicts = {check.verdict for check in checks}
    if "worse" in verdicts:
        return "worse"
    return "undecided" if "undecided" in verdicts else "holds"


def _compare_failures(samples: Samples, limits: Limits, name: str) -> Check:
    stable, canary = samples.stable, samples.canary
    by_server = name == "failed requests"
    mine = canary.failed if by_server else canary.refused
    others = stable.failed if by_server else stable.refused
    counts = (mine, canary.requests, others, stable.requests)
    p = find_failure_p(*counts)
    bound = bound_more_failures(*counts)
    verdict: Verdict = "holds"
    why = ""
    if p < limits.alpha:
        verdict, why = "worse", "a larger share"
    elif min(canary.requests, stable.requests) < limits.min_requests:
        verdict, why = "undecided", f"needs {limits.min_requests} requests of each version"
    elif bound > limits.more_failures:
        verdict = "undecided"
        why = f"may be {bound:.2%} more (95 %), allowed {limits.more_failures:.2%}"
    return Check(
        name, f"{others} of {stable.requests}", f"{mine} of {canary.requests}", p, verdict, why
    )


def _compare_latency(samples: Samples, limits: Limits) -> Check:
    stable, canary = samples.stable.latency, samples.canary.latency
    larger, p = find_larger_p(*_align(canary, stable))
    effect = larger - 0.5
    verdict, why = _judge_effect(effect > limits.more_often_slower, p, canary, stable, limits)
    return Check(
        "latency",
        _show_times(stable),
        _show_times(canary),
        p,
        verdict,
        why or (f"slower in {larger:.0%} of pairs" if verdict == "worse" else ""),
    )


def _compare_tail(samples: Samples, limits: Limits) -> Check:
    stable, canary = samples.stable.latency, samples.canary.latency
    mine, others = _align(canary, stable)
    after = find_bucket(others, _TAIL) + 1 if others else 0
    slow, slow_stable = round(sum(mine[after:])), round(sum(others[after:]))
    p = find_failure_p(slow, canary.observed, slow_stable, stable.observed)
    share = slow / canary.observed if canary.observed else 0.0
    share_stable = slow_stable / stable.observed if stable.observed else 0.0
    allowed = limits.longer_tail * share_stable + _FEW_SLOW
    verdict, why = _judge_effect(share > allowed, p, canary, stable, limits)
    bound = stable.bounds[after - 1] if 0 < after <= len(stable.bounds) else math.inf
    return Check(
        f"slower than {bound * 1e3:g} ms", f"{share_stable:.2%}", f"{share:.2%}", p, verdict, why
    )


def _compare_joules(samples: Samples, limits: Limits) -> Check:
    stable, canary = samples.stable.joules, samples.canary.joules
    _, p = find_larger_p(*_align(canary, stable))
    ratio = canary.mean / stable.mean if stable.mean else math.inf
    verdict, why = _judge_effect(ratio > 1 + limits.more_joules, p, canary, stable, limits)
    return Check(
        "energy of a row",
        f"{stable.mean * 1e3:.3g} mJ of {stable.observed}",
        f"{canary.mean * 1e3:.3g} mJ of {canary.observed}",
        p,
        verdict,
        why or (f"{ratio - 1:+.0%}" if verdict == "worse" else ""),
    )


def _judge_effect(
    is_large: bool, p: float, canary: Buckets, stable: Buckets, limits: Limits
) -> tuple[Verdict, str]:
    """A difference counts where it is large enough to matter, and sure."""
    if is_large and p < limits.alpha:
        return "worse", ""
    if min(canary.observed, stable.observed) < limits.min_requests:
        return "undecided", f"needs {limits.min_requests} computed answers of each version"
    if is_large:
        return "undecided", "looks worse, and is not sure yet"
    return "holds", ""


def _align(canary: Buckets, stable: Buckets) -> tuple[Sequence[float], Sequence[float]]:
    """Return the counts of both; one that has no buckets yet has empty ones."""
    size = max(len(canary.counts), len(stable.counts))
    return canary.counts or [0.0] * size, stable.counts or [0.0] * size


def _show_times(times: Buckets) -> str:
    if not times.observed:
        return "none"
    p50, p95 = (find_quantile(times.bounds, times.counts, share) for share in (0.5, _TAIL))
    return (
        f"mean {times.mean * 1e3:.3g} ms, p50 {p50 * 1e3:.3g}, p95 {p95 * 1e3:.3g} "
        f"of {times.observed}"
    )
