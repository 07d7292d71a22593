"""No caller and no route starves another: device time is shared, queues are bounded, answers of a
caller with little work come soon. Counted in batches and in seconds of a clock of the test's own.
"""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from core.messages import Request
from serving.engine.calls import Call
from serving.engine.catalog import ServedRoute
from serving.scheduling.lane_choice import LONG_WAIT_S, TURNS
from serving.scheduling.lanes import Lane
from tests.fakes.toys import ToyStage, ask, cascade, final, serve_toy
from tests.serving.scheduling.stepped import Stepped, count_rows

LARGE_ROW_S, SMALL_ROW_S = 0.005, 0.0001


def make_route(name: str, row_s: float, max_batch: int = 32) -> ServedRoute:
    served = serve_toy(
        ToyStage("only", lambda x: final(x, "only")), route=name, max_batch=max_batch
    )
    served.entry.times.calibrate(row_s, max_batch * row_s, max_batch)
    return served


def make_stepped(**settings: Any) -> Stepped:
    return Stepped(
        make_route("large", LARGE_ROW_S),
        make_route("small", SMALL_ROW_S),
        **{"max_queued_s": 1e6, "max_queued_rows": 100_000, **settings},
    )


class Closed:
    """Clients that ask again as soon as they are answered."""

    def __init__(self, stepped: Stepped) -> None:
        self.stepped = stepped
        self._values = 0
        self._open: list[tuple[list[object], Callable[[], Request]]] = []

    def add(self, caller: str, route: str, connections: int, rows: int, **fields: float) -> None:
        def make() -> Request:
            values = range(self._values, self._values + rows)
            self._values += rows
            now = self.stepped.clock.now
            deadline = now + fields["timeout_s"] if "timeout_s" in fields else None
            return ask(*values, route=route, caller=caller, no_cache=True, deadline=deadline)

        for _ in range(connections):
            self._open.append(([], make))

    def refill(self) -> None:
        """Have every connection ask that was answered."""
        for held, make in self._open:
            if not held or held[0] not in self.stepped.open:
                held[:] = [self.stepped.submit(make())]
        self.stepped.spin()

    def run(self, seconds: float) -> Mapping[str, float]:
        """Device seconds by caller."""
        spent: dict[str, float] = {}
        until = self.stepped.clock.now + seconds
        while self.stepped.clock.now < until:
            self.refill()
            if self.stepped.thread.job is None:
                continue
            lane, blocks = self.stepped.thread.job
            for block in blocks:
                assert isinstance(block.call, Call)
                caller = block.call.request.caller
                spent[caller] = spent.get(caller, 0.0) + lane.row_s * len(block)
            self.stepped.end_batch()
        return spent


def count_batches(stepped: Stepped, value: float) -> int:
    """Batches that end before the one with this row has ended."""
    for batches in range(10_000):
        assert stepped.thread.job is not None, "nothing runs and the row did not come"
        _, blocks = stepped.thread.job
        stepped.end_batch()
        if any(value in block.inputs["x"] for block in blocks):
            return batches
    raise AssertionError("the row never came")


def flood(stepped: Stepped, kind: str, caller: str) -> None:
    """A neighbour's work: of the large route, of many small requests, or of the victim's route."""
    if kind == "small":
        for value in range(1000, 1064):
            stepped.submit(ask(value, route="small", caller=caller, no_cache=True))
        return
    for call in range(16):
        values = range(1000 + 256 * call, 1256 + 256 * call)
        stepped.submit(ask(*values, route="large", caller=caller, no_cache=True))


@pytest.mark.parametrize("caller", ["victim", "neighbour"])
@pytest.mark.parametrize(
    ("kind", "route"), [("large", "small"), ("small", "small"), ("large", "large")]
)
def test_a_single_row_is_not_kept_waiting(kind: str, route: str, caller: str) -> None:
    stepped = make_stepped()
    flood(stepped, kind, caller)
    stepped.spin()
    stepped.clock.now += 0.5
    begun = stepped.clock.now
    call = stepped.submit(ask(1, route=route, caller="victim", deadline=begun + 0.5))
    assert call is not None, stepped.ends
    assert count_batches(stepped, 1) <= 3
    assert stepped.ends[-1] == "ok"
    assert stepped.clock.now - begun < 0.5


@pytest.mark.parametrize("kind", ["large", "small"])
def test_overdue_rows_do_not_go_before_another_caller_s(kind: str) -> None:
    stepped = make_stepped()
    flood(stepped, kind, "neighbour")
    stepped.spin()
    stepped.end_batch()
    stepped.clock.now += 100.0  # what waits is long overdue
    stepped.submit(ask(1, route="small", caller="victim"))
    assert count_batches(stepped, 1) <= 2


def test_connections_rows_and_tiny_deadlines_make_no_larger_share() -> None:
    stepped = make_stepped()
    clients = Closed(stepped)
    clients.add("rows", "large", connections=4, rows=64)
    clients.add("connections", "large", connections=64, rows=1)
    clients.add("hurry", "large", connections=16, rows=8, timeout_s=3.0)
    clients.add("routes", "large", connections=8, rows=8)
    clients.add("routes", "small", connections=64, rows=32)
    spent = clients.run(8.0)
    assert all(1.5 < seconds < 2.5 for seconds in spent.values()), spent


def test_routes_of_one_caller_share_alike() -> None:
    stepped = make_stepped()
    clients = Closed(stepped)
    clients.add("one", "large", connections=16, rows=64)
    clients.add("one", "small", connections=64, rows=32)
    taken: dict[str, float] = {}
    clients.run(2.0)
    for lane, blocks in stepped.thread.taken:
        taken[lane.route] = taken.get(lane.route, 0.0) + count_rows(blocks) * lane.row_s
    assert 0.7 < taken["small"] / taken["large"] < 1.4


def test_an_idle_caller_saves_nothing_up() -> None:
    stepped = make_stepped()
    clients = Closed(stepped)
    clients.add("busy", "large", connections=4, rows=32)
    clients.run(10.0)
    clients.add("late", "large", connections=4, rows=32)
    spent = clients.run(5.0)
    assert 0.8 < spent["busy"] / spent["late"] < 1.25


def test_a_caller_that_comes_again_and_again_is_served_as_soon_each_time() -> None:
    stepped = make_stepped()
    clients = Closed(stepped)
    clients.add("neighbour", "large", connections=16, rows=256)
    clients.run(1.0)
    for value in range(-1, -60, -1):
        stepped.submit(ask(value, route="large", caller="victim", no_cache=True))
        clients.refill()
        assert count_batches(stepped, value) <= 2
        stepped.end_batch()


def test_newcomers_do_not_hold_back_a_caller_for_ever() -> None:
    stepped = make_stepped()
    call = stepped.submit(ask(*range(64), route="large", caller="first", no_cache=True))
    for index in range(4000):
        now = stepped.clock.now
        stepped.submit(ask(index, route="small", caller=f"new {index}", deadline=now + 0.3))
        stepped.spin()
        stepped.end_batch(0.02)
        if call not in stepped.open:
            break
    assert call not in stepped.open


def test_small_calls_do_not_starve_a_large_one_of_the_same_caller() -> None:
    stepped = make_stepped()
    clients = Closed(stepped)
    clients.add("one", "large", connections=48, rows=1, timeout_s=1.0)
    clients.run(1.0)
    call = stepped.submit(ask(*range(-16, 0), route="large", caller="one", no_cache=True))
    clients.run(16 * LARGE_ROW_S * 49 * 2)
    assert call not in stepped.open


@pytest.mark.parametrize("connections", [48, 480])
def test_an_endless_stream_of_small_calls_does_not_hold_back_a_large_one(connections: int) -> None:
    stepped = make_stepped()
    clients = Closed(stepped)
    clients.add("one", "large", connections=connections, rows=1)
    clients.run(1.0)
    call = stepped.submit(ask(*range(-64, 0), route="large", caller="one", no_cache=True))
    work_s = 64 * LARGE_ROW_S
    clients.run(LONG_WAIT_S + TURNS * 2 * connections * LARGE_ROW_S + 2 * TURNS * work_s)
    assert call not in stepped.open


def test_rows_go_in_the_order_in_which_they_are_due_under_light_load() -> None:
    stepped = Stepped(make_route("large", 0.001, max_batch=1))
    first = stepped.submit(ask(0, route="large", caller="a"))
    stepped.spin()
    now = stepped.clock.now
    for value, (caller, due_s) in enumerate(
        [("a", 0.9), ("b", 0.3), ("c", 0.5), ("a", 0.4), ("b", 0.2)], 1
    ):
        stepped.submit(ask(value, route="large", caller=caller, deadline=now + due_s))
    stepped.finish()
    order = [float(blocks[0].inputs["x"][0]) for _, blocks in stepped.thread.taken]
    assert first is not None and order == [0, 5, 2, 4, 3, 1]


def test_batches_are_filled_with_the_rows_of_others() -> None:
    stepped = make_stepped()
    for index in range(40):
        stepped.submit(ask(index, route="large", caller=f"caller {index % 8}"))
    stepped.finish()
    assert [count_rows(blocks) for _, blocks in stepped.thread.taken] == [32, 8]


def test_a_row_that_others_have_asked_for_waits_no_longer_than_an_own_one() -> None:
    stepped = make_stepped()
    for call in range(8):
        values = range(1000 + 256 * call, 1256 + 256 * call)
        stepped.submit(ask(*values, route="large", caller="neighbour"))
    stepped.spin()
    stepped.end_batch()
    stepped.submit(ask(1255 + 256 * 7, route="large", caller="victim"))  # its very last row
    assert count_batches(stepped, 1255 + 256 * 7) <= 2


def test_survivors_are_charged_and_do_not_starve() -> None:
    light, large = cascade()
    served = serve_toy(light, large, route="two", is_cached=False)
    served.lanes["light"].times.calibrate(0.0001, 0.0032, 32)
    served.lanes["large"].times.calibrate(0.01, 0.32, 32)
    stepped = Stepped(served, max_queued_s=1e6)
    for call in range(8):
        odd = range(1001 + 512 * call, 1513 + 512 * call, 2)
        stepped.submit(ask(*odd, route="two", caller="neighbour", no_cache=True))
    stepped.spin()
    for _ in range(20):
        stepped.end_batch()
    begun = stepped.clock.now
    stepped.submit(ask(1, route="two", caller="victim", deadline=begun + 1.5))
    while not stepped.ends:
        stepped.end_batch()
    assert stepped.ends == ["ok"]
    assert stepped.clock.now - begun < 1.0
    stepped.submit(ask(3, route="two", caller="neighbour", deadline=stepped.clock.now + 1.5))
    while len(stepped.ends) == 1:
        stepped.end_batch()
    assert stepped.ends == ["ok", "ok"]


def test_one_caller_cannot_fill_the_room_of_others() -> None:
    stepped = make_stepped(max_queued_rows=900)
    for value in range(1000):
        stepped.submit(ask(value, route="large", caller="neighbour", no_cache=True))
    refused = stepped.ends.count("Overloaded")
    assert 1000 - 900 < refused < 300
    for index in range(8):
        assert stepped.submit(ask(5000 + index, route="large", caller=f"other {index}"))


def test_what_a_caller_has_waiting_for_a_route_is_bounded_in_seconds() -> None:
    stepped = make_stepped(max_queued_s=2.0)
    for call in range(3):
        stepped.submit(ask(*range(256 * call, 256 * call + 256), route="large", caller="one"))
    assert stepped.ends == ["Overloaded", "Overloaded"]  # 1.28 s each
    assert stepped.submit(ask(1000, route="large", caller="one"))
    assert stepped.submit(ask(*range(256), route="small", caller="one"))
    assert stepped.submit(ask(*range(2000, 2256), route="large", caller="two"))


@pytest.mark.parametrize(("route", "caller"), [("large", "two"), ("small", "one")])
def test_less_may_wait_while_another_caller_or_route_takes_turns(route: str, caller: str) -> None:
    """2.56 s of work fit into 3 s alone, and not at half of the device."""
    for others in (0, 1):
        stepped = make_stepped(max_queued_s=3.0)
        for call in range(others):
            stepped.submit(ask(*range(9000 + call, 9256 + call), route=route, caller=caller))
        for call in range(2):
            stepped.submit(ask(*range(256 * call, 256 * call + 256), route="large", caller="one"))
        assert stepped.ends.count("Overloaded") == others


def test_a_small_call_finds_room_beside_the_large_ones_of_its_caller() -> None:
    stepped = make_stepped(max_queued_s=2.0, max_queued_rows=1000)
    for call in range(8):
        stepped.submit(ask(*range(256 * call, 256 * call + 256), route="large", caller="one"))
    assert stepped.ends.count("Overloaded") == 7
    now = stepped.clock.now
    for value in range(5000, 5020):
        assert stepped.submit(ask(value, route="large", caller="one", deadline=now + 0.5))


def test_a_single_request_may_be_longer_than_what_may_wait() -> None:
    stepped = make_stepped(max_queued_s=0.5)
    assert stepped.submit(ask(*range(256), route="large", caller="one"))


def test_nothing_is_kept_of_callers_who_have_gone() -> None:
    stepped = make_stepped()
    for index in range(600):
        stepped.submit(ask(index, route="large", caller=f"caller {index}"))
    assert len(stepped.scheduler.shares.device.shares) == 600
    stepped.finish()
    assert not stepped.scheduler.shares.device.shares
    assert not any(queues_of(stepped))


def queues_of(stepped: Stepped) -> list[Lane]:
    return [
        lane
        for route in stepped.engine.catalog.routes()
        for lane in route.lanes.values()
        if lane.queues or lane.rows
    ]


def test_the_idle_are_remembered_within_bounds() -> None:
    stepped = make_stepped()
    shares = stepped.scheduler.shares
    shares.claim("busy", "large")
    for index in range(1500):
        claim = shares.claim(f"caller {index}", "large")
        claim.share.wait()
        claim.share.charge(1.0, 0.0)
        claim.share.rest()
        shares.release(claim)
        assert len(shares.device.shares) <= 1025
