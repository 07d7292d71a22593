"""Every request of a run: when it arrives, for which route, and how many stages it will need.

All of it is drawn before the run, so that two runs with one seed have the same requests, whatever
the fleet does with them. A drift changes how far requests go, never when they arrive.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simulation.costs import Costs
from simulation.trace import Floats


@dataclass(frozen=True, slots=True)
class Drift:
    """From `at_s` on, `factor` times as many rows go on from every stage, up to all."""

    at_s: float
    factor: float = 2.0


@dataclass(frozen=True, slots=True)
class LaneCosts:
    """One stage of one route: the seconds of a batch by its number of rows."""

    name: str
    batch_s: Sequence[float]
    max_batch: int


@dataclass(frozen=True, slots=True)
class Workload:
    """Requests in order of arrival; lanes by number, those of one route in a row."""

    lanes: Sequence[LaneCosts]
    arrival_s: Floats  # [N]
    first_lane: Sequence[int]  # [N]
    last_lane: Sequence[int]  # [N]; below first_lane: answered from the cache
    network_s: Floats  # [N], added to each latency


def make_workload(
    costs: Costs, arrival_s: Floats, seed: int, drift: Drift | None = None
) -> Workload:
    """Draw the requests; `arrival_s` is sorted, in seconds, shape [N]."""
    count = len(arrival_s)
    random = np.random.default_rng([seed, 1])
    shares = np.array([route.share for route in costs.routes])
    routes = np.searchsorted(np.cumsum(shares / shares.sum()), random.random(count), side="right")
    routes = np.minimum(routes, len(shares) - 1)
    hit, depth = random.random(count), random.random(count)
    late = arrival_s >= drift.at_s if drift else np.zeros(count, dtype=bool)
    first, last = np.zeros(count, np.int64), np.zeros(count, np.int64)
    lanes: list[LaneCosts] = []
    for number, route in enumerate(costs.routes):
        mine = routes == number
        factor = drift.factor if drift else 1.0
        usual, drifted = np.array(route.list_reached()), np.array(route.list_reached(factor))
        reached = np.where(late[mine, None], drifted[None, 1:], usual[None, 1:])
        stages = 1 + (depth[mine, None] < reached).sum(axis=1)
        stages[hit[mine] < route.hit_rate] = 0
        first[mine] = len(lanes)
        last[mine] = len(lanes) + stages - 1
        lanes += [
            LaneCosts(f"{route.name}/{stage.name}", stage.list_batch_times_s(), stage.max_batch)
            for stage in route.stages
        ]
    drawn = np.random.default_rng([seed, 2]).integers(len(costs.network_ms), size=count)
    network_s = np.array(costs.network_ms)[drawn] / 1e3
    return Workload(lanes, arrival_s, first.tolist(), last.tolist(), network_s)
