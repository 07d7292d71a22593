"""The ledger of states: what is counted when a row's state is given, grows and goes."""

from serving.scheduling.rows.blocks import Block
from serving.scheduling.rows.states import StateMemory
from tests.fakes.toys import CountingHandle, ToyStage, final, serve_toy


def make_block(rows: int = 1) -> Block:
    lane = serve_toy(ToyStage("only", lambda x: final(x, "only"))).entry
    return Block(lane, None, range(rows), {}, {}, None, 0.0, 0.0)


def test_a_state_that_grows_in_place_is_counted_as_it_is_now() -> None:
    ledger, block, state = StateMemory(100), make_block(), CountingHandle("tokens", 10)
    assert ledger.exchange(block, [state]) == []
    state.size_bytes = 50
    assert ledger.exchange(block, [state]) == []
    assert (ledger.used_bytes, state.freed) == (50, 0)
    state.size_bytes = 60
    ledger.exchange(block, None)
    assert (ledger.used_bytes, state.freed) == (0, 1)


def test_a_state_that_outgrows_the_limit_is_freed_and_refused() -> None:
    ledger, block, state = StateMemory(100), make_block(), CountingHandle("tokens", 10)
    ledger.exchange(block, [state])
    state.size_bytes = 101
    assert ledger.exchange(block, [state]) == [0]
    assert (ledger.used_bytes, state.freed, block.states) == (0, 1, None)


def test_rows_whose_state_fits_keep_it_beside_one_that_is_refused() -> None:
    ledger, block = StateMemory(100), make_block(3)
    states = [CountingHandle("tokens", size) for size in (60, 50, 40)]
    assert ledger.exchange(block, states) == [1]
    assert block.states == [states[0], None, states[2]]
    assert [state.freed for state in states] == [0, 1, 0]
    part = block.split([0])
    ledger.exchange(part, None)
    assert (ledger.used_bytes, states[0].freed, states[2].freed) == (40, 1, 0)
    ledger.exchange(block, None)
    assert (ledger.used_bytes, states[2].freed) == (0, 1)
