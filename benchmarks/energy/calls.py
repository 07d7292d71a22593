"""What counting and the ledger do, called by themselves: CPU time a reading, and a request.

In turns with and without, a share of one percent drowns in this kind of machine's noise; the calls
that make the difference can be timed alone.
"""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

from core.messages import Step
from harness.results import Sample
from harness.services.fake_rapl import set_uj, write_rapl
from monitoring.metrics.collector import Metrics
from monitoring.metrics.counts import RouteMetrics
from serving.energy import open_sampler
from serving.scheduling.batch_times import UnitCost
from serving.scheduling.costs import share, spend
from serving.scheduling.lanes import Flight, Lane, Lanes
from serving.settings import EnergySettings

ROUNDS, READINGS, REQUESTS = 5, 300, 20_000
ZONE, STEP_UJ = "intel-rapl:0", 1_000_000
STAGE = "small"


def measure_calls(work: Path) -> Iterator[Sample]:
    """A reading entered into the ledger; all that is counted for a request of one row."""
    for run in range(ROUNDS):
        settings = EnergySettings(source="rapl", sysfs=work / f"sys-calls-{run}")
        reading_us = asyncio.run(_time_readings(settings))
        yield Sample("a reading", run, "cpu_us", reading_us)
        yield Sample("a reading", run, "core_percent", reading_us / settings.interval_s / 1e4)
        yield Sample("counting a request", run, "cpu_us", _time_requests())


async def _time_readings(settings: EnergySettings) -> float:
    """CPU time of this process, the meter's thread included, in µs a reading."""
    folder = write_rapl(settings.sysfs, {ZONE: "package-0"})
    metrics = Metrics()
    counts = metrics.add_route("route", [STAGE])
    sampler = open_sampler(settings, metrics, time.thread_time)
    assert sampler is not None
    spent_s = 0.0
    for reading in range(1, READINGS + 1):
        set_uj(folder, ZONE, reading * STEP_UJ)
        counts.count_cost(STAGE, 1e-3, 1)
        began_s = time.process_time()
        await sampler.sample()
        spent_s += time.process_time() - began_s
    return spent_s / READINGS * 1e6


def _time_requests() -> float:
    """Each a batch of its own, which is the dearest; µs."""
    metrics = Metrics()
    counts = metrics.add_route("route", [STAGE])
    lanes = Lanes()
    lane = _make_lane(counts, lanes)
    flight, step = Flight(lane, {}, {}, None, 0.0, 0.0), Step(100, None, None)
    began_s = time.thread_time()
    for _ in range(REQUESTS):
        share([flight], [step], 1e-4)
        spend(flight, None)
        counts.count_batch(STAGE, 1, [1e-4], 1e-3)
        counts.count_row(STAGE, "confidence", 1e-3)
        metrics.energy.estimate_mj(1e-3)
        metrics.count_request("route", "ok")
    return (time.thread_time() - began_s) / REQUESTS * 1e6


def _make_lane(counts: RouteMetrics, lanes: Lanes) -> Lane:
    """What a flight belongs to; nothing runs in it."""

    class Nothing:
        name = STAGE

        def run(self, rows: object, /) -> list[Step]:
            return []

    return Lane(
        Nothing(),
        max_batch=1,
        is_first=True,
        is_last=True,
        lanes=lanes,
        metrics=counts,
        cache_ttl_s=None,
        row_cost=UnitCost(),
    )
