"""Whatever comes in whatever order, the scheduler comes to rest and each call ends exactly once."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.devices.onnx import OnnxDevice
from core.messages import Next, Step
from serving.engine.catalog import ServedRoute
from serving.oip.outputs import gather_output
from serving.scheduling.batch_wait import MAX_PASSES
from tests.fakes.toys import CountingHandle, ToyStage, ask, final, outcome, serve_toy
from tests.serving.scheduling.stepped import Stepped

ROUTES = ("a", "b")
TIMES_S = (0.0, 0.0001, 0.002, 0.05)


def first(value: float) -> Step:
    """Multiples of 7 fail, of 5 break a stage's promise, other odd numbers go on."""
    if value % 7 == 0:
        raise ValueError("a row that no stage can run")
    if value % 5 == 0:
        return Step(1, outcome(value, "first", confidence=2.0), None)
    if value % 2 == 0:
        return final(value, "first")
    handle = CountingHandle(value, 8)
    return Step(1, outcome(value, "first", 0.5), Next("next", {"x": np.asarray(value)}, handle))


def following(value: float) -> Step:
    """Multiples of 11 go nowhere, of 3 come again."""
    if value % 11 == 0:
        return Step(1, None, Next("nowhere", {"x": np.asarray(value)}))
    if value % 3 == 0:
        return Step(1, None, Next("next", {"x": np.asarray(value + 1)}))
    return final(value, "next")


def make_route(name: str, times: Sequence[float], max_batch: int) -> ServedRoute:
    served = serve_toy(
        ToyStage("first", first), ToyStage("next", following), route=name, max_batch=max_batch,
        row_bytes=lambda _: 8,
    )  # fmt: skip
    for lane, one_s in zip(served.lanes.values(), times, strict=True):
        lane.times.calibrate(one_s, one_s * 1.5, max_batch)
    return served


deadlines = st.none() | st.floats(0.0001, 0.3)
calls = st.tuples(
    st.just("call"),
    st.sampled_from(ROUTES),
    st.lists(st.integers(1, 40), min_size=1, max_size=12),
    deadlines,
    st.sampled_from(["", "one", "two"]),
    st.booleans(),
)
moves = st.one_of(
    calls,
    st.tuples(st.just("turn")),
    st.tuples(st.just("end"), st.none() | st.floats(0.0, 0.1)),
    st.tuples(st.just("wait"), st.floats(0.0, 0.1)),
    st.tuples(st.just("cancel"), st.integers(0, 50)),
)


@settings(max_examples=150, deadline=None)
@given(
    moves=st.lists(moves, max_size=40),
    times=st.lists(st.sampled_from(TIMES_S), min_size=4, max_size=4),
    max_batch=st.sampled_from([1, 3, 32]),
    rebatch=st.booleans(),
    state_limit_bytes=st.sampled_from([8, 30, 1 << 20]),
)
@pytest.mark.filterwarnings("ignore")
def test_every_call_ends_once_and_the_loop_comes_to_rest(
    moves: Sequence[tuple[Any, ...]],
    times: Sequence[float],
    max_batch: int,
    rebatch: bool,
    state_limit_bytes: int,
) -> None:
    routes = [make_route("a", times[:2], max_batch), make_route("b", times[2:], max_batch)]
    small = OnnxDevice(state_limit_bytes)
    stepped = Stepped(*routes, device=small, rebatch_stages=rebatch, max_queued_rows=64)
    begun = 0
    for move in moves:
        match move:
            case ("call", route, values, timeout_s, caller, no_cache):
                begun += 1
                deadline = None if timeout_s is None else stepped.clock.now + timeout_s
                stepped.submit(
                    ask(*values, route=route, deadline=deadline, caller=caller, no_cache=no_cache)
                )
            case ("turn",):
                stepped.loop.turn()
            case ("end", run_s):
                if stepped.thread.job is not None:
                    stepped.end_batch(run_s)
            case ("wait", seconds):
                stepped.clock.now += seconds
            case ("cancel", index) if stepped.open:
                stepped.cancel(stepped.open[index % len(stepped.open)])
    stepped.finish()
    stepped.clock.now += 1.0
    stepped.finish()  # the deadlines that were left
    assert len(stepped.ends) == begun
    assert (
        not stepped.open
        and not stepped.engine.under_way.flights
        and not stepped.engine.schedulers.state_bytes()
    )
    assert all(lane.rows == 0 for route in routes for lane in route.every_lane)
    assert not any(lane.queues for route in routes for lane in route.every_lane)
    device = stepped.scheduler.shares.device
    assert (device.waiting, device.calls) == (0, 0)
    assert all(one.waiting == one.calls == 0 for one in device.shares.values())
    assert stepped.engine.health().ready
    assert not stepped.loop.ready
    check_replies(stepped)


def check_replies(stepped: Stepped) -> None:
    for request, reply in stepped.replies:
        rows = request.inputs["x"].tolist()
        given = gather_output(reply, "y")  # as the endpoints read them
        for value, answer, y in zip(rows, reply.answers, given, strict=True):
            at_last = value + (value % 2 and value % 3 == 0)
            allowed = {value, at_last} if answer.stopped_by == "deadline" else {at_last}
            assert float(answer.outcome.outputs["y"]) == y and y in allowed


def test_a_row_too_late_for_its_batch_leaves_the_other_route_its_turn() -> None:
    """The pump waits for company; meanwhile the only row of the lane becomes too late."""
    hurried, calm = make_route("a", (0.0002, 0.0002), 32), make_route("b", (0.0003, 0.0003), 32)
    stepped = Stepped(hurried, calm)
    stepped.submit(ask(2, route="a", deadline=stepped.clock.now + 0.0025))
    stepped.submit(ask(4, route="b"))
    for _ in range(15):
        stepped.loop.turn()
    stepped.clock.now += 0.0004  # it cannot be answered in time any more
    assert sorted(stepped.finish()) == ["DeadlineExceeded", "ok"]


def test_rows_that_keep_coming_do_not_keep_the_device_waiting() -> None:
    served = make_route("a", (0.00001, 0.00001), 1000)
    stepped = Stepped(served)
    for passes in range(2 * MAX_PASSES):
        stepped.submit(ask(2 + 210 * passes, route="a"))
        stepped.loop.turn()
        if stepped.thread.job is not None:
            break
    assert passes <= MAX_PASSES
    assert stepped.finish() == ["ok"] * (passes + 1)


def test_a_step_that_cannot_be_counted_fails_its_batch_and_no_other() -> None:
    def step(value: float) -> Step:
        return Step("many" if value == 13 else 1, outcome(value, "only"), None)  # type: ignore[arg-type]

    stepped = Stepped(serve_toy(ToyStage("only", step)))
    stepped.submit(ask(13))
    assert stepped.finish() == ["StageFailed"]
    stepped.submit(ask(1))
    assert stepped.finish() == ["StageFailed", "ok"]


def test_a_row_that_a_pipeline_sends_on_for_ever_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.scheduling.rows.batch_results.MAX_STEPS", 10)
    circle = ToyStage("only", lambda x: Step(1, None, Next("only", {"x": np.asarray(x)})))
    stepped = Stepped(serve_toy(circle))
    stepped.submit(ask(1))
    assert stepped.finish() == ["StageFailed"]
    assert len(circle.batches) == 11


def test_calls_that_want_one_row_many_times_leave_it_in_linear_time() -> None:
    stepped = Stepped(make_route("a", TIMES_S[:2], 1))
    stepped.submit(ask(2, route="a"))
    stepped.spin()  # the device is busy
    begun_s = time.process_time()
    calls = [stepped.submit(ask(*[4] * 256, route="a", deadline=1005.0)) for _ in range(64)]
    for call in calls[::2]:
        assert call is not None
        stepped.cancel(call)
    stepped.clock.now += 6.0  # the deadlines of the others pass
    stepped.spin()
    assert time.process_time() - begun_s < 1.0  # 0.1 s, and 5 s where each looks at all others
    assert stepped.ends == ["cancelled"] * 32 + ["DeadlineExceeded"] * 32
    assert stepped.finish()[-1] == "ok"
