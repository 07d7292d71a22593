"""The sampler: what it enters, and what it does when the meter fails, stalls, or comes back."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from monitoring.energy.meter_reader import RETRY_S, STALLED_S, CpuTimes, Sampler
from monitoring.energy.meters.late import DeferredMeter
from monitoring.energy.meters.meter import Meter, MeterDenied, MeterFailed, Source
from monitoring.energy.rate import EnergyRate
from tests.fakes.clock import Clock


@dataclass
class SteadyMeter:
    """Gives `power_w` for every second of the clock, until it is told to fail or to stand still."""

    clock: Clock
    source: Source = "rapl"
    power_w: float = 20.0
    fails: str = ""
    joules: float = 0.0
    read_at_s: float = field(default=100.0)

    def read_joules(self) -> Mapping[str, float]:
        if self.fails:
            raise MeterFailed(self.fails)
        self.joules += self.power_w * (self.clock.now_s - self.read_at_s)
        self.read_at_s = self.clock.now_s
        return {"package-0": self.joules}


class FakeServer:
    """A machine of which everything is known."""

    def __init__(self, *stand_ins: Source) -> None:
        self.clock = Clock()
        self.meter = SteadyMeter(self.clock)
        self.busy_s = self.own_s = self.device_s = 0.0
        self.spent: dict[tuple[str, str], float] = {}
        self.rate = EnergyRate()
        meters: list[tuple[Meter, float | None]] = [(self.meter, 10.0)]
        self.stand_ins = [SteadyMeter(self.clock, source, 4.0) for source in stand_ins]
        meters += [(meter, 0.0) for meter in self.stand_ins]
        self.sampler = Sampler(
            meters,
            lambda: CpuTimes(self.busy_s, self.own_s, self.device_s),
            lambda: self.spent,
            self.rate,
            self.clock,
        )

    def work(self, seconds: float = 0.1) -> None:
        """A core is busy with stages, all the time."""
        self.clock.now_s += seconds
        self.busy_s += seconds
        self.own_s += seconds
        self.device_s += seconds
        self.spent["a", "light"] = self.spent.get(("a", "light"), 0.0) + seconds

    def sample(self) -> None:
        asyncio.run(self.sampler.sample())

    def state(self) -> tuple[bool, str]:
        return self.sampler.degraded, self.rate.source

    def account(self, name: str, source: str = "rapl") -> float:
        return self.sampler.counts()["energy_account_joules"].get((name, source), 0.0)


def test_joules_go_to_the_rows_that_ended_and_set_the_rate() -> None:
    server = FakeServer()
    server.work(2.0)
    server.sample()
    assert server.sampler.counts()["energy_joules"] == {("a", "light", "rapl"): pytest.approx(20.0)}
    assert server.account("idle") == pytest.approx(20.0)
    assert server.sampler.counts()["energy_meter_joules"] == {("package-0", "rapl"): 40.0}
    assert server.rate.source == "rapl"
    assert server.rate.joules_per_s == pytest.approx(10.0)
    assert server.rate.estimate_mj(0.001) == pytest.approx(10.0)


def test_a_meter_that_fails_is_replaced_and_comes_back_by_itself() -> None:
    server = FakeServer("model")
    server.meter.fails = "package-0 is gone"
    server.work()
    server.sample()
    assert server.state() == (True, "model")
    server.work()
    server.sample()
    assert server.account("rows", "model") == pytest.approx(0.4)
    server.meter.fails = ""
    server.work(RETRY_S)
    server.sample()
    server.work()
    server.sample()
    assert server.state() == (False, "rapl")
    assert server.account("rows") == pytest.approx(1.0)


def test_without_a_stand_in_nothing_is_counted_and_nothing_guessed() -> None:
    server = FakeServer()
    server.meter.fails = "package-0 is gone"
    for _ in range(2):
        server.work()
        server.sample()
    assert server.sampler.counts()["energy_degraded"] == {(): 1.0}
    assert server.state() == (True, "none")
    assert server.rate.estimate_mj(1.0) is None
    assert server.account("rows") == 0.0


def test_a_counter_that_stands_still_while_the_machine_works_is_a_failure() -> None:
    server = FakeServer("model")
    server.meter.power_w = 0.0
    for _ in range(int(STALLED_S / 0.1) + 2):
        server.work()
        server.sample()
    assert server.state() == (True, "model")
    server.work(RETRY_S)
    server.sample()
    assert server.state() == (True, "model")  # it can be read, but has not moved
    server.meter.power_w = 20.0
    server.work(RETRY_S)
    server.sample()
    assert server.state() == (False, "rapl")


def test_a_stand_in_that_fails_too_does_not_bring_a_stalled_meter_back() -> None:
    server = FakeServer("replay", "model")
    server.meter.power_w = 0.0
    for _ in range(int(STALLED_S / 0.1) + 2):
        server.work()
        server.sample()
    assert server.state() == (True, "replay")
    server.stand_ins[0].fails = "the file has ended"
    server.work()
    server.sample()
    assert server.state() == (True, "model")
    server.work(RETRY_S)
    server.sample()
    assert server.state() == (True, "model")  # the first one has still not moved


def test_a_route_that_goes_away_takes_its_series_with_it() -> None:
    server = FakeServer()
    server.work()
    server.sample()
    server.spent.clear()
    server.work()
    del server.spent["a", "light"]
    server.spent["b", "light"] = 0.1
    server.sample()
    assert {route for route, *_ in server.sampler.counts()["energy_joules"]} == {"b"}
    server.sampler.ledgers["rapl"].ledger.check_invariants()


def test_a_meter_that_may_not_be_read_at_first_counts_once_it_may() -> None:
    clock, allowed = Clock(), False
    meter = SteadyMeter(clock)

    def make() -> Meter:
        if not allowed:
            raise MeterDenied("not by this user")
        return meter

    late = DeferredMeter("rapl", make)
    stand_in = SteadyMeter(clock, "model", 4.0)
    sampler = Sampler(
        [(late, 10.0), (stand_in, 0.0)], lambda: CpuTimes(0, 0, 0), dict, EnergyRate(), clock
    )
    assert (sampler.degraded, *sampler.ledgers) == (True, "model")
    allowed = True
    for _ in range(3):
        clock.now_s += RETRY_S
        asyncio.run(sampler.sample())
    assert (sampler.degraded, "rapl" in sampler.ledgers) == (False, True)


def test_an_idle_machine_makes_no_meter_fail() -> None:
    server = FakeServer("model")
    server.meter.power_w = 0.0
    for _ in range(50):
        server.clock.now_s += 0.1
        server.sample()
    assert not server.sampler.degraded
