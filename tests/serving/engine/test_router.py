"""`auto:<task>` takes the cheapest route that can be in time."""

import time

import pytest

from core.errors import UnknownRoute
from core.parameters import ParameterSpec
from serving.engine.catalog import Catalog, ServedRoute
from serving.engine.engine import Engine
from serving.engine.router import choose_route
from tests.fakes.toys import ToyStage, ask, final, serve_toy, with_engine


def route(name: str, macs: float) -> ServedRoute:
    served = serve_toy(ToyStage("only", lambda x: final(x, "only")), route=name)
    served.manifest = served.manifest.model_copy(update={"expected_macs": macs})
    return served


CHEAP, DEAR = route("cheap", 1.0), route("dear", 10.0)
NEEDED_S = {"cheap": 2.0, "dear": 0.5}


def needed_s(served: ServedRoute, due: float) -> float:
    return NEEDED_S[served.name]


@pytest.mark.parametrize(
    ("timeout_s", "chosen"), [(None, "cheap"), (5.0, "cheap"), (1.0, "dear"), (0.1, "dear")]
)
def test_the_cheapest_route_in_time_is_chosen(timeout_s: float | None, chosen: str) -> None:
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    assert choose_route(Catalog([DEAR, CHEAP]), "auto:toys", deadline, needed_s).name == chosen


def test_a_route_with_other_parameters_is_not_an_alternative() -> None:
    other = route("other", 2.0)
    declared = {"top": ParameterSpec(type="integer", default=1)}
    other.manifest = other.manifest.model_copy(update={"parameters": declared})
    late = time.monotonic() + 0.1
    chosen = choose_route(Catalog([CHEAP, other]), "auto:toys", late, lambda served, _: 1.0)
    assert chosen.name == "cheap"


def test_an_unknown_task_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownRoute, match=r"'cats'; there are \['toys'\]"):
        choose_route(Catalog([CHEAP]), "auto:cats", None, needed_s)


def test_the_reply_names_the_route_that_answered() -> None:
    async def use(engine: Engine) -> None:
        assert (await engine.answer(ask(1, route="auto:toys"))).route == "cheap"

    with_engine(use, route("cheap", 1.0), route("dear", 10.0))


def test_a_route_that_is_in_time_for_one_row_only_is_passed_over() -> None:
    cheap, dear = route("cheap", 1.0), route("dear", 10.0)
    cheap.entry.times.calibrate(0.1, 3.2, 32)  # per row
    dear.entry.times.calibrate(0.1, 0.1, 32)  # per batch

    async def use(engine: Engine) -> None:
        for rows, chosen in ((1, "cheap"), (30, "dear")):
            soon = time.monotonic() + 1.0
            request = ask(*range(rows), route="auto:toys", deadline=soon)
            assert (await engine.answer(request)).route == chosen

    with_engine(use, cheap, dear)


def test_a_route_that_leaves_no_time_for_the_reply_is_passed_over() -> None:
    cheap, dear = route("cheap", 1.0), route("dear", 10.0)
    cheap.entry.times.calibrate(0.7, 0.7, 32)

    async def use(engine: Engine) -> None:
        soon = time.monotonic() + 1.0
        assert (await engine.answer(ask(1, route="auto:toys", deadline=soon))).route == "dear"

    with_engine(use, cheap, dear, reply_margin_s=0.5)
