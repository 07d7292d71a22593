"""Over whole lives of a server, whatever happens in them, every joule of the meter is in one place.

Lanes run at once and one after another, rows end, fail or never end, neighbours work, the meter
fails, the process is killed and starts again: each life's ledger sums to what the meter gave in it.
"""

import asyncio
from collections.abc import Sequence
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring.energy.meter_reader import CpuTimes, Sampler
from monitoring.energy.rate import EnergyRate
from tests.fakes.clock import Clock
from tests.monitoring.energy.test_meter_reader import SteadyMeter

Act = Literal["light", "large", "both", "fail", "server", "neighbour", "rest", "no meter", "kill"]
ACTS: tuple[Act, ...] = Act.__args__  # type: ignore[attr-defined]
acts = st.lists(st.tuples(st.sampled_from(ACTS), st.floats(0.001, 3.0)), min_size=1, max_size=40)


class World:
    """A machine of two cores, with a meter that knows what it gives."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.meter = SteadyMeter(self.clock, power_w=20.0)
        self.busy_s = 0.0
        self.start()

    def start(self) -> None:
        """A process begins: it knows nothing of the one before."""
        self.own_s = self.device_s = 0.0
        self.spent: dict[tuple[str, str], float] = {}
        self.sampler = Sampler(
            [(self.meter, None)],
            lambda: CpuTimes(self.busy_s, self.own_s, self.device_s),
            lambda: self.spent,
            EnergyRate(),
            self.clock,
        )
        self.began_j = self.meter.joules

    def run(self, exits: Sequence[str], seconds: float, ends: bool = True) -> None:
        """Lanes take their turns on the device in this time; with two, the loop works meanwhile."""
        self.busy_s += seconds * len(exits)
        self.own_s += seconds * len(exits)
        self.device_s += seconds
        for exit in exits if ends else ():
            key = ("a", exit)
            self.spent[key] = self.spent.get(key, 0.0) + seconds / len(exits)

    def act(self, act: Act, seconds: float) -> None:
        self.clock.now_s += seconds
        match act:
            case "light" | "large":
                self.run([act], seconds)
            case "both":
                self.run(["light", "large"], seconds)
            case "fail":
                self.run(["failed"], seconds, ends=False)  # its batch still runs, say
            case "server":
                self.busy_s += seconds
                self.own_s += seconds
            case "neighbour":
                self.busy_s += 2 * seconds
            case "no meter":
                self.meter.fails = "gone" if not self.meter.fails else ""
            case "kill":
                self.check_invariants()
                self.meter.fails = ""
                self.meter.read_joules()
                self.start()
                return
        asyncio.run(self.sampler.sample())

    def check_invariants(self) -> None:
        """The sums of this life; what the meter gave while it could not be read is in nobody's."""
        for book in self.sampler.ledgers.values():
            book.ledger.check_invariants()
            assert book.ledger.joules <= self.meter.joules - self.began_j + 1e-6
            assert sum(book.components.values()) == pytest.approx(book.ledger.joules)


@settings(max_examples=60, deadline=None)
@given(acts)
def test_every_life_sums_to_what_its_meter_gave(story: list[tuple[Act, float]]) -> None:
    world = World()
    for act, seconds in story:
        world.act(act, seconds)
        world.check_invariants()
    if all(act not in ("no meter", "kill") for act, _ in story):
        whole_j = sum(world.sampler.ledgers["rapl"].ledger.accounts.values())
        assert whole_j == pytest.approx(world.meter.joules - world.began_j)
