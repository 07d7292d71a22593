"""The memory of states: what is reserved and counted as a row's state is given, grows and goes."""

from serving.scheduling.rows.blocks import Block
from serving.scheduling.rows.states import StateMemory
from tests.fakes.toys import CountingHandle, ToyStage, final, serve_toy


def make_block(memory: StateMemory, *needs: int) -> Block:
    """Rows that have reserved these bytes."""
    lane = serve_toy(ToyStage("only", lambda x: final(x, "only"))).entry
    block = Block(lane, None, range(len(needs)), {}, {}, None, 0.0, 0.0)
    block.needs = list(needs)
    memory.reserve(block)
    return block


def test_a_state_that_grows_in_place_is_counted_as_it_is_now() -> None:
    memory = StateMemory(100)
    block, state = make_block(memory, 50), CountingHandle("tokens", 10)
    assert memory.exchange(block, [state]) == []
    state.size_bytes = 50
    assert memory.exchange(block, [state]) == []
    assert (memory.used_bytes, memory.reserved_bytes, state.freed) == (50, 50, 0)
    state.size_bytes = 60
    memory.release(block)
    assert (memory.used_bytes, memory.reserved_bytes, state.freed) == (0, 0, 1)


def test_a_state_that_outgrows_what_was_reserved_is_freed_and_refused() -> None:
    memory = StateMemory(100)
    block, state = make_block(memory, 50), CountingHandle("tokens", 10)
    memory.exchange(block, [state])
    state.size_bytes = 51
    assert memory.exchange(block, [state]) == [0]
    assert (memory.used_bytes, state.freed, block.states) == (0, 1, None)
    memory.release(block)
    assert (memory.reserved_bytes, state.freed) == (0, 1)


def test_a_state_of_a_row_that_reserved_nothing_is_refused() -> None:
    memory = StateMemory(100)
    block, state = make_block(memory), CountingHandle("tokens", 1)
    block.rows = range(1)
    assert memory.exchange(block, [state]) == [0]
    assert (memory.used_bytes, state.freed) == (0, 1)


def test_rows_whose_state_fits_keep_it_beside_one_that_is_refused() -> None:
    memory = StateMemory(200)
    block = make_block(memory, 60, 40, 40)
    states = [CountingHandle("tokens", size) for size in (60, 50, 40)]
    assert memory.exchange(block, states) == [1]
    assert block.states == [states[0], None, states[2]]
    assert [state.freed for state in states] == [0, 1, 0]
    part = block.split([0])
    memory.release(part)
    assert (memory.used_bytes, memory.reserved_bytes) == (40, 80)
    assert (states[0].freed, states[2].freed) == (1, 0)
    memory.release(block)
    assert (memory.used_bytes, memory.reserved_bytes, states[2].freed) == (0, 0, 1)


def test_rows_fit_from_the_first_on() -> None:
    memory = StateMemory(100)
    assert memory.count_fitting([40, 60, 1]) == 2
    make_block(memory, 50)
    assert memory.count_fitting([40, 60, 1]) == 1
    assert memory.count_fitting([51, 1]) == 0
