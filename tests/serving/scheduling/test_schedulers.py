"""Several devices in one engine: they work at once, and each keeps its own accounts."""

import asyncio
import threading
from collections.abc import Sequence

import pytest

from core.devices.onnx import OnnxDevice
from core.messages import Batch, Step
from harness.waiting import until
from monitoring.energy.meter_reader import CpuTimes, Sampler
from monitoring.energy.meters.meter import Source
from monitoring.metrics.collector import Metrics
from serving.engine.engine import Engine
from tests.fakes.clock import Clock
from tests.fakes.toys import ToyStage, ask, cascade, final, serve_toy, values, with_engine


class Meeting:
    """A stage that ends a batch only once stages of all devices run one."""

    def __init__(self, name: str, barrier: threading.Barrier) -> None:
        self.name = name
        self._barrier = barrier

    def run(self, rows: Batch) -> Sequence[Step]:
        self._barrier.wait(20.0)
        return [final(float(value), self.name) for value in rows.inputs["x"]]


class Meter:
    """Counts a joule at each reading."""

    source: Source = "replay"

    def __init__(self) -> None:
        self.joules = 0.0

    def read_joules(self) -> dict[str, float]:
        self.joules += 1.0
        return {"package-0": self.joules}


def two_devices() -> list[OnnxDevice]:
    return [OnnxDevice(name="first"), OnnxDevice(name="second")]


def test_two_devices_work_at_once() -> None:
    barrier = threading.Barrier(2)
    on = ("first", "second")
    routes = [serve_toy(Meeting("only", barrier), route=name, device=name) for name in on]

    async def use(engine: Engine) -> None:
        replies = await asyncio.gather(*[engine.answer(ask(7.0, route=name)) for name in on])
        assert [values(reply) for reply in replies] == [[7.0], [7.0]]

    with_engine(use, *routes, devices=two_devices())


def test_the_ledger_conserves_joules_and_each_devices_seconds_go_to_its_own_rows() -> None:
    metrics = Metrics()
    fails = ToyStage("only", lambda x: final(x, "only") if x % 7 else fail())
    routes = [
        serve_toy(*cascade(), route="a", device="first", metrics=metrics),
        serve_toy(fails, route="b", device="first", metrics=metrics),
        serve_toy(*cascade(), route="c", device="second", metrics=metrics),
        serve_toy(fails, route="d", metrics=metrics),  # of no device: on the first
    ]
    on = {"first": "abd", "second": "c"}

    async def use(engine: Engine) -> None:
        clock = Clock()

        def read_cpu() -> CpuTimes:
            device_s = engine.device_s()
            return CpuTimes(2 * device_s, 1.5 * device_s, device_s)

        sampler = Sampler(
            [(Meter(), 0.0)], read_cpu, metrics.device_s_by_exit, metrics.energy, clock
        )
        for turn in range(10):
            begun = [
                engine.answer(ask(*range(turn, turn + 20), route=route, no_cache=True))
                for route in "abcd"
            ]
            asking = asyncio.gather(*begun, return_exceptions=True)
            await asyncio.sleep(0)
            clock.now_s += 0.1
            await sampler.sample()  # in the middle
            await asking
        clock.now_s += 0.1
        await sampler.sample()
        ((ledger, _),) = sampler.ledgers.values()
        ledger.check_invariants()
        assert ledger.joules == 11.0
        assert sum(ledger.accounts.values()) == pytest.approx(11.0)
        spent = metrics.device_s_by_exit()
        for name, scheduler in engine.schedulers:
            mine = sum(seconds for (route, _), seconds in spent.items() if route in on[name])
            assert mine == pytest.approx(scheduler.device_s(), rel=1e-9), name
            assert scheduler.device_s() > 0.0

    with_engine(use, *routes, devices=two_devices())


def fail() -> Step:
    raise ValueError("a row that cannot be run")


def test_a_device_that_is_stuck_is_named_and_the_others_go_on() -> None:
    stuck = threading.Event()
    routes = [
        serve_toy(ToyStage("only", lambda x: final(x, "only"), gate=stuck), device="first"),
        serve_toy(ToyStage("only", lambda x: final(x, "only")), route="other", device="second"),
    ]

    async def use(engine: Engine) -> None:
        waiting = asyncio.create_task(engine.answer(ask(1.0)))
        while (health := engine.health()).ready:
            await asyncio.sleep(0)
        assert health.why.startswith("device first: rows wait")
        assert "second" not in health.why
        assert values(await engine.answer(ask(1.0, route="other"))) == [1.0]
        stuck.set()
        assert values(await waiting) == [1.0]
        while not engine.health().ready:
            await asyncio.sleep(0)

    with_engine(use, *routes, devices=two_devices(), stalled_after_s=0.01)


def test_shares_queues_and_predictions_are_those_of_the_device() -> None:
    gate = threading.Event()
    routes = [
        serve_toy(ToyStage("only", lambda x: final(x, "only"), gate=gate), route=name, device=name)
        for name in ("first", "second")
    ]
    for served in routes:
        served.entry.times.calibrate(1.0, 1.0, 32)

    async def use(engine: Engine) -> None:
        waiting = [
            asyncio.create_task(engine.answer(ask(float(turn), route="first", caller="one")))
            for turn in range(2)
        ]
        await asyncio.sleep(0)
        schedulers = dict(engine.schedulers)
        assert [schedulers[name].shares.device.calls for name in ("first", "second")] == [2, 0]
        await until(lambda: schedulers["first"].predict_s(routes[0].entry, 0.0, 0.0) > 1.0)
        assert schedulers["second"].predict_s(routes[1].entry, 0.0, 0.0) == 1.0
        gate.set()
        await asyncio.gather(*waiting)

    with_engine(use, *routes, devices=two_devices())
