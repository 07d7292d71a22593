"""The ledger of states: what is counted when a row's state is given, grows and goes."""

import pytest

from core.errors import Overloaded
from serving.scheduling.lanes import Flight
from serving.scheduling.states import StateMemory
from tests.fakes.toys import CountingHandle, ToyStage, final, serve_toy


def make_flight() -> Flight:
    lane = serve_toy(ToyStage("only", lambda x: final(x, "only"))).entry
    return Flight(lane, {}, {}, None, 0.0, 0.0)


def test_a_state_that_grows_in_place_is_counted_as_it_is_now() -> None:
    ledger, flight, state = StateMemory(100), make_flight(), CountingHandle("tokens", 10)
    ledger.exchange(flight, state)
    state.size_bytes = 50
    ledger.exchange(flight, state)
    assert (ledger.used_bytes, state.freed) == (50, 0)
    state.size_bytes = 60
    ledger.exchange(flight, None)
    assert (ledger.used_bytes, state.freed) == (0, 1)


def test_a_state_that_outgrows_the_limit_is_freed_and_refused() -> None:
    ledger, flight, state = StateMemory(100), make_flight(), CountingHandle("tokens", 10)
    ledger.exchange(flight, state)
    state.size_bytes = 101
    with pytest.raises(Overloaded, match="101 bytes"):
        ledger.exchange(flight, state)
    assert (ledger.used_bytes, state.freed, flight.state) == (0, 1, None)
