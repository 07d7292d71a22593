"""Rows wait for memory in fair order, and none is passed forever."""

from core.devices.onnx import OnnxDevice
from core.messages import Step
from serving.engine.catalog import ServedRoute
from tests.fakes.toys import CountingHandle, ToyStage, ask, onward, outcome, serve_toy
from tests.serving.scheduling.stepped import Stepped


def serve(stage: ToyStage) -> ServedRoute:
    """A row's number is the bytes that it needs; it runs two steps."""
    return serve_toy(stage, row_bytes=int, is_cached=False)


def make_stage() -> ToyStage:
    seen: list[float] = []

    def step(value: float) -> Step:
        seen.append(value)
        if seen.count(value) % 2 == 0:
            return Step(1, outcome(value, "only"), None)
        going = onward(value, "only", "only")
        assert going.next is not None
        return going._replace(next=going.next._replace(state=CountingHandle(value, int(value))))

    return ToyStage("only", step)


def test_a_row_that_needs_much_is_not_passed_by_rows_that_need_little() -> None:
    stage = make_stage()
    stepped = Stepped(serve(stage), device=OnnxDevice(100))
    stepped.submit(ask(60.0))
    stepped.spin()
    stepped.submit(ask(70.0))
    for value in (10.0, 11.0, 12.0):
        stepped.submit(ask(value))
    stepped.finish()
    assert stage.batches == [[60.0], [60.0], [70.0, 10.0, 11.0], [70.0, 10.0, 11.0], [12.0], [12.0]]
    assert stepped.ends == ["ok"] * 5


def test_callers_take_turns_at_memory() -> None:
    stage = make_stage()
    route = serve(stage)
    route.entry.times.calibrate(1.0, 1.0, 32)
    stepped = Stepped(route, device=OnnxDevice(100))
    for value in (91.0, 92.0, 93.0):
        stepped.submit(ask(value, caller="many"))
    stepped.submit(ask(94.0, caller="one"))
    stepped.finish()
    assert [batch[0] for batch in stage.batches[::2]] == [91.0, 94.0, 92.0, 93.0]


def test_a_waiting_row_whose_client_leaves_lets_the_next_one_in() -> None:
    stage = make_stage()
    stepped = Stepped(serve(stage), device=OnnxDevice(100))
    stepped.submit(ask(60.0))
    stepped.spin()
    large = stepped.submit(ask(90.0))
    stepped.submit(ask(30.0))
    assert large is not None
    stepped.cancel(large)
    stepped.spin()
    assert stepped.scheduler.states.reserved_bytes == 90
    stepped.finish()
    assert [60.0, 30.0] in stage.batches or [30.0, 60.0] in stage.batches
    assert stepped.scheduler.states.reserved_bytes == 0


def test_a_row_that_waits_for_memory_ends_at_its_deadline() -> None:
    stage = make_stage()
    stepped = Stepped(serve(stage), device=OnnxDevice(100))
    stepped.submit(ask(60.0))
    stepped.spin()
    stepped.submit(ask(90.0, deadline=stepped.clock.now + 0.1))
    stepped.clock.now += 0.2
    stepped.loop.turn()
    assert stepped.ends == ["DeadlineExceeded"] or not stepped.ends
    stepped.finish()
    assert sorted(stepped.ends) == ["DeadlineExceeded", "ok"]
    assert not stepped.scheduler.shares.device.waiting


def test_rows_that_wait_for_memory_count_as_waiting() -> None:
    stage = make_stage()
    route = serve(stage)
    stepped = Stepped(route, device=OnnxDevice(100), max_queued_rows=3)
    stepped.submit(ask(90.0))
    stepped.spin()
    for value in (91.0, 92.0, 93.0):
        stepped.submit(ask(value))
    assert route.stage_loads()["only"]["waiting_rows"] == 3  # type: ignore[index]
    stepped.submit(ask(94.0))
    assert stepped.ends == ["Overloaded"]
    stepped.finish()
    assert stepped.ends == ["Overloaded", *["ok"] * 4]
