"""Budgets in millijoules: a row stops with what it has where the next stage would overdraw."""

import asyncio
import threading
from pathlib import Path

from core.messages import Answer
from harness.waiting import until
from monitoring.metrics.collector import Metrics
from serving.energy import open_sampler
from serving.engine.engine import Engine
from serving.settings import EnergySettings
from tests.fakes.toys import ToyStage, ask, cascade, final, serve_toy, values, with_engine
from tests.monitoring.energy.fake_sys import write_proc

LARGE_S = 0.01  # what the large stage is believed to take
JOULES_PER_S = 10.0  # so 100 mJ


def meter(joules_per_s: float | None = JOULES_PER_S) -> Metrics:
    metrics = Metrics()
    metrics.energy.joules_per_s = joules_per_s
    return metrics


def answer_within(energy_mj: float | None, metrics: Metrics) -> tuple[Answer, ToyStage]:
    light, large = cascade()
    route = serve_toy(light, large, metrics=metrics)
    route.lanes["large"].times.calibrate(LARGE_S, LARGE_S, 32)

    async def use(engine: Engine) -> Answer:
        return (await engine.answer(ask(3, energy_mj=energy_mj))).answers[0]

    return with_engine(use, route), large


def test_a_row_stops_where_its_joules_would_not_last() -> None:
    answer, large = answer_within(90.0, meter())
    assert (answer.stopped_by, answer.outcome.exit) == ("energy", "light")
    assert large.batches == []


def test_a_row_goes_on_where_they_last_or_where_it_has_no_budget() -> None:
    for energy_mj in (1000.0, None):
        answer, _ = answer_within(energy_mj, meter())
        assert (answer.stopped_by, answer.outcome.exit) == ("last_stage", "large")


def test_a_row_stops_on_an_estimate_as_on_a_measurement(tmp_path: Path) -> None:
    metrics = Metrics()
    settings = EnergySettings(sysfs=tmp_path)  # no meter there: 1.5 W a busy CPU, so 15 mJ
    assert open_sampler(settings, metrics, float, proc=write_proc(tmp_path))
    for energy_mj, exit in ((1.0, "light"), (1000.0, "large")):
        answer, _ = answer_within(energy_mj, metrics)
        assert answer.outcome.exit == exit and answer.energy_mj is not None


def test_where_nothing_is_known_nothing_stops() -> None:
    answer, _ = answer_within(0.0, meter(None))
    assert answer.outcome.exit == "large"


def test_the_first_answer_is_computed_whatever_it_costs() -> None:
    only = ToyStage("only", lambda x: final(x, "only"))

    async def use(engine: Engine) -> None:
        assert values(await engine.answer(ask(3, energy_mj=0.0))) == [3]

    with_engine(use, serve_toy(only, metrics=meter()))


def test_a_row_shared_with_somebody_who_has_no_budget_goes_on_for_him_alone() -> None:
    gate = threading.Event()
    light, large = cascade(gate)
    route = serve_toy(light, large, metrics=meter())
    route.lanes["large"].times.calibrate(LARGE_S, LARGE_S, 32)

    async def use(engine: Engine) -> None:
        blocker = asyncio.create_task(engine.answer(ask(1)))
        await until(lambda: len(large.batches) == 1)
        thrifty = asyncio.create_task(engine.answer(ask(3, energy_mj=90.0)))
        generous = asyncio.create_task(engine.answer(ask(3)))
        await asyncio.sleep(0)
        gate.set()
        assert (await thrifty).answers[0].stopped_by == "energy"
        assert values(await generous) == [103]
        assert values(await engine.answer(ask(3))) == [103]  # memory knows the whole answer
        await blocker

    with_engine(use, route)
