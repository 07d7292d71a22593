"""Whose picture is decoded next, and how long one has to wait for it."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from serving.pictures.decode_queue import DecodeQueue


@dataclass(eq=False)
class Item:
    caller: str
    share_s: float = 1.0
    file_bytes: int = 10


def fill(*items: Item) -> DecodeQueue[Item]:
    queue: DecodeQueue[Item] = DecodeQueue()
    for item in items:
        queue.push(item)
    return queue


def take_all(queue: DecodeQueue[Item]) -> list[Item]:
    taken = []
    while (item := queue.first()) is not None:
        queue.take(item)
        taken.append(item)
    return taken


def test_a_caller_of_many_does_not_hold_up_a_caller_of_one() -> None:
    many, one = [Item("a") for _ in range(50)], Item("b")
    taken = take_all(fill(*many, one))
    assert taken.index(one) <= 1
    assert [item for item in taken if item is not one] == many


def test_a_caller_who_comes_back_pays_for_what_was_used() -> None:
    queue = fill(Item("a", 10.0), Item("b"), Item("b"), Item("b"))
    taken = [queue.first() for _ in range(1)]
    assert taken[0] is not None
    queue.take(taken[0])
    queue.push(Item("a"))
    assert [item.caller for item in take_all(queue)] == ["b", "b", "b", "a"]


def test_the_wait_is_behind_no_more_of_others_than_of_oneself() -> None:
    queue = fill(*[Item("a") for _ in range(50)])
    assert queue.predict_s("b", 1.0) == 1.0
    assert queue.predict_s("a", 1.0) == 50.0


def test_who_has_most_waiting_loses_the_newest() -> None:
    queue = fill(Item("a"), last := Item("a"), Item("b"))
    assert queue.newest_of_busiest_caller("c", 1.0) is last
    assert queue.newest_of_busiest_caller("a", 1.0) is None
    assert queue.newest_of_busiest_caller("b", 1.0) is None


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.floats(0.001, 10), st.booleans()), max_size=60)
)
def test_nothing_is_lost_and_the_sums_are_right(steps: list[tuple[str, float, bool]]) -> None:
    queue: DecodeQueue[Item] = DecodeQueue()
    held: set[Item] = set()
    for caller, share_s, adds in steps:
        first = queue.first()
        if adds or first is None:
            item = Item(caller, share_s)
            queue.push(item)
            held.add(item)
        else:
            queue.remove(first)
            queue.remove(first)  # a second time is nothing
            held.discard(first)
        assert set(queue) == held
        assert queue.file_bytes == 10 * len(held)
        assert abs(queue.wait_s - sum(item.share_s for item in held)) < 1e-9
    assert set(take_all(queue)) == held
    assert queue.wait_s == 0.0
