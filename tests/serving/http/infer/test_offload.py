"""Work in threads: few at once, and one caller's does not hold up another's."""

import asyncio
import threading

from serving.http.infer.offload import OffloadThreads


def test_a_caller_with_much_work_leaves_room_for_another() -> None:
    async def run() -> None:
        aside = OffloadThreads(slots=2)
        gate = threading.Event()
        begun: list[int] = []

        def work(number: int) -> int:
            begun.append(number)
            assert gate.wait(10)
            return number

        greedy = [asyncio.create_task(aside.run("greedy", work, number)) for number in range(8)]
        await asyncio.sleep(0)
        assert await asyncio.wait_for(aside.run("other", int, "7"), 10) == 7
        assert begun in ([], [0])
        gate.set()
        assert await asyncio.gather(*greedy) == list(range(8))

    asyncio.run(run())


def test_what_is_cancelled_while_it_waits_never_begins() -> None:
    async def run() -> None:
        aside = OffloadThreads(slots=1)
        gate = threading.Event()
        begun: list[int] = []
        first = asyncio.create_task(aside.run("a", gate.wait, 10))
        second = asyncio.create_task(aside.run("b", begun.append, 2))
        await asyncio.sleep(0)
        second.cancel()
        gate.set()
        assert await first
        assert await asyncio.gather(second, return_exceptions=True)
        assert begun == []
        assert await aside.run("b", int, "3") == 3

    asyncio.run(run())


def test_what_is_cancelled_while_it_runs_keeps_its_slot_until_it_ends() -> None:
    async def run() -> None:
        aside = OffloadThreads(slots=1)
        gate, begun = threading.Event(), threading.Event()
        order: list[str] = []

        def work() -> None:
            begun.set()
            assert gate.wait(10)
            order.append("first")

        first = asyncio.create_task(aside.run("a", work))
        await asyncio.to_thread(begun.wait, 10)
        first.cancel()
        second = asyncio.create_task(aside.run("b", order.append, "second"))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not first.done()
        gate.set()
        await second
        assert first.cancelled()
        assert order == ["first", "second"]

    asyncio.run(run())
