"""Shares of open calls, and which calls are ended to make room."""

import contextlib
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import Overloaded
from serving.grpc.open_calls import GRACE_S, EndReason, Kind, OpenCall, OpenCalls

KIND = Kind("calls", total=8, per_caller=4, per_connection=2)


class Book:
    """Open calls with a clock that the test sets, and what was ended."""

    def __init__(self) -> None:
        self.now = 0.0
        self.ended: list[tuple[OpenCall, EndReason]] = []
        self.calls = OpenCalls(
            lambda call, why: self.ended.append((call, why)),
            message_timeout_s=30.0,
            idle_s=600.0,
            clock=lambda: self.now,
        )

    def begin(self, caller: str, connection: str, *, works: bool = False) -> OpenCall:
        call = self.calls.begin(KIND, caller, connection)
        if works:
            call.since = None
        return call


def test_a_connection_a_caller_and_all_together_have_their_limits_and_get_their_room_back() -> None:
    book = Book()
    first = [book.begin("a", connection, works=True) for connection in "1122"]
    with pytest.raises(Overloaded, match="2 of one connection are open"):
        book.begin("a", "1")
    with pytest.raises(Overloaded, match="4 of one caller are open"):
        book.begin("a", "3")
    second = [book.begin("b", connection, works=True) for connection in "4455"]
    with pytest.raises(Overloaded, match="8 of all callers are open"):
        book.begin("c", "6")
    for call in first:
        call.close()
        call.close()
    assert len(book.calls) == 4
    for connection in "1122":
        book.begin("a", connection)
    book.calls.end_all(second, EndReason.DRAINING)
    assert [call for call, _ in book.ended] == second
    assert len(book.calls) == 4


def test_two_callers_with_all_the_calls_they_may_have_leave_some_for_others() -> None:
    book = Book()
    kind = Kind("calls", total=400, per_caller=200, per_connection=400)

    def take_all(caller: str) -> list[OpenCall]:
        taken: list[OpenCall] = []
        with contextlib.suppress(Overloaded):
            while True:
                taken.append(book.calls.begin(kind, caller, caller))
                taken[-1].since = None  # the server works on it
        return taken

    first, second = take_all("a"), take_all("b")
    assert len(first) == 200
    assert 160 < len(second) < 200
    assert len(take_all("c")) >= 10
    for call in first[:10]:
        call.close()
    assert take_all("a") == []
    assert len(take_all("d")) >= 5


def test_a_call_that_its_client_does_not_go_on_with_makes_room() -> None:
    book = Book()
    works = book.begin("a", "1", works=True)
    silent = [book.begin("a", connection) for connection in "233"]
    with pytest.raises(Overloaded):  # nothing has waited for long yet
        book.begin("a", "4")
    book.now += GRACE_S
    book.begin("a", "4")
    assert book.ended == [(silent[1], EndReason.PREEMPTED)]  # its connection has most such calls
    assert works.open


def test_at_the_limit_of_all_the_caller_with_most_calls_makes_room() -> None:
    book = Book()
    greedy = [book.begin("a", connection) for connection in "1122"]
    for caller, connection in (("b", "3"), ("b", "4"), ("c", "5"), ("d", "6")):
        book.begin(caller, connection)
    book.now += GRACE_S
    book.begin("e", "7")
    ((ended, why),) = book.ended
    assert ended in greedy
    assert why is EndReason.PREEMPTED
    assert len(book.calls) == 8


def test_what_waits_for_its_client_for_too_long_is_ended() -> None:
    book = Book()
    late = book.begin("a", "1")
    works = book.begin("a", "2", works=True)
    idle = book.begin("b", "3")
    book.calls.wait(idle, EndReason.IDLE)
    unread = book.begin("b", "4", works=True)
    book.now = 10.0
    book.calls.wait(unread, EndReason.UNREAD)
    book.now = 29.9
    book.calls.sweep()
    assert book.ended == []
    book.now = 30.0
    book.calls.sweep()
    assert book.ended == [(late, EndReason.LATE_MESSAGE)]
    book.now = 600.0
    book.calls.sweep()
    assert book.ended[1:] == [(idle, EndReason.IDLE), (unread, EndReason.UNREAD)]
    assert works.open


MOVES = st.tuples(
    st.sampled_from(["begin", "begin", "begin", "works", "waits", "close", "end", "later"]),
    st.sampled_from("abc"),
    st.integers(0, 40),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(MOVES, max_size=40))
def test_whatever_begins_and_ends_in_whatever_order_is_counted_once(
    moves: list[tuple[str, str, int]],
) -> None:
    book = Book()
    begun: list[OpenCall] = []
    for move, caller, number in moves:
        if move == "begin":
            with contextlib.suppress(Overloaded):
                begun.append(book.begin(caller, f"{caller}{number % 3}"))
        elif move == "later":
            book.now += number
            book.calls.sweep()
        elif begun:
            call = begun[number % len(begun)]
            if move == "works":
                call.since = None
            elif move == "waits":
                book.calls.wait(call, EndReason.UNREAD)
            elif move == "close":
                call.close()
            else:
                book.calls.end(call, EndReason.DRAINING)
        held = [one for one in begun if one.open]
        assert {*book.calls} == {*held}
        assert len(book.calls) == len(held) <= KIND.total
        assert max(Counter(one.caller for one in held).values(), default=0) <= KIND.per_caller
        places = Counter(one.connection for one in held)
        assert max(places.values(), default=0) <= KIND.per_connection
        assert not held or (held[0].shares and held[0].shares.connections == places)
    assert len({id(call) for call, _ in book.ended}) == len(book.ended)


def test_a_call_that_is_over_holds_neither_its_context_nor_its_task() -> None:
    book = Book()
    call = book.calls.begin(KIND, "a", "1", context=object(), task=object())
    book.calls.end(call, EndReason.IDLE)
    assert (call.context, call.task) == (None, None)
