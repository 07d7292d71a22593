"""The pool that decodes: what it lets in, what it ends, and what it never holds at once."""

import asyncio
import contextlib
import gc
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Sequence

import pytest

from core.errors import DeadlineExceeded, InvalidInput, Overloaded, RouteUnavailable
from harness.waiting import until
from serving.pictures.decode_pool import DecodePool, Pause, PoolLimits, Work

LIMITS = PoolLimits(threads=2, max_wait_s=10.0, max_memory_bytes=100, max_file_bytes=1000)
SECOND = 1 / 15e-9  # pixels of a PNG that are guessed to take so long


class Gate:
    """Work that waits until it is let go, and counts who is inside."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.lock = threading.Lock()
        self.inside = 0
        self.most = 0
        self.begun = 0
        self.ended = 0

    def work(self, name: str = "", memory_bytes: int = 1, seconds: float = 0.01) -> Work[str]:
        def run(pause: Pause) -> str:
            with self.lock:
                self.begun += 1
                self.inside += 1
                self.most = max(self.most, self.inside)
            try:
                while not self.opened.wait(0.001):
                    pause()
                pause()
                self.ended += 1
            finally:
                with self.lock:
                    self.inside -= 1
            return name

        return Work(run, "PNG", seconds * SECOND, memory_bytes, 10)


def play(scene: Callable[[DecodePool, Gate], Awaitable[None]], limits: PoolLimits = LIMITS) -> None:
    async def run() -> None:
        pool, gate = DecodePool(limits), Gate()
        try:
            await asyncio.wait_for(scene(pool, gate), 20)
        finally:
            gate.opened.set()
            pool.close()

    asyncio.run(run())


def start(
    pool: DecodePool, works: Sequence[Work[str]], caller: str = "a", deadline: float | None = None
) -> "asyncio.Task[list[str]]":
    return asyncio.create_task(pool.run(works, caller, deadline))


def test_results_come_in_order_and_no_more_run_than_there_are_threads() -> None:
    async def scene(pool: DecodePool, gate: Gate) -> None:
        tasks = [start(pool, [gate.work(f"{place}"), gate.work("b")]) for place in range(5)]
        await until(lambda: gate.begun == 2)
        assert pool.counts() == (2, 8)
        gate.opened.set()
        assert [await task for task in tasks] == [[f"{place}", "b"] for place in range(5)]
        assert gate.most == 2
        assert pool.counts() == (0, 0)

    play(scene)


def test_what_runs_holds_no_more_memory_than_allowed() -> None:
    async def scene(pool: DecodePool, gate: Gate) -> None:
        tasks = [start(pool, [gate.work(memory_bytes=60)]) for _ in range(3)]
        await until(lambda: gate.begun == 1)
        assert pool.counts() == (1, 2)
        gate.opened.set()
        await asyncio.gather(*tasks)
        assert gate.most == 1

    play(scene)


def test_what_cannot_be_in_time_is_refused_before_it_begins() -> None:
    async def scene(pool: DecodePool, gate: Gate) -> None:
        for _ in range(100):
            with pytest.raises(DeadlineExceeded, match=r"predicted to need [12][0-9]{3} ms"):
                await pool.run([gate.work(seconds=2.9)], "a", time.monotonic() + 0.5)
        assert gate.begun == 0

    play(scene)


def test_what_waits_behind_others_is_refused_by_what_they_take() -> None:
    async def scene(pool: DecodePool, gate: Gate) -> None:
        tasks = [start(pool, [gate.work(seconds=1.0)]) for _ in range(6)]
        await until(lambda: gate.begun == 2)
        with pytest.raises(DeadlineExceeded, match="predicted"):
            await pool.run([gate.work()], "a", time.monotonic() + 1.0)
        other = start(pool, [gate.work()], "b", time.monotonic() + 1.9)
        gate.opened.set()
        await asyncio.gather(other, *tasks)

    play(scene)


def test_a_deadline_ends_what_waits_and_what_runs() -> None:
    async def scene(pool: DecodePool, gate: Gate) -> None:
        limit = time.monotonic() + 0.05
        tasks = [start(pool, [gate.work(seconds=0.001)], deadline=limit) for _ in range(4)]
        for task in tasks:
            with pytest.raises(DeadlineExceeded, match="not decoded before"):
                await task
        await until(lambda: pool.counts() == (0, 0))
        assert (gate.begun, gate.ended, gate.inside) == (2, 0, 0)

    play(scene)


def test_who_leaves_takes_the_work_along() -> None:
    async def scene(pool: DecodePool, gate: Gate) -> None:
        tasks = [start(pool, [gate.work(), gate.work()]) for _ in range(30)]
        await until(lambda: gate.begun == 2)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await until(lambda: pool.counts() == (0, 0))
        assert (gate.begun, gate.ended, gate.inside) == (2, 0, 0)
        gate.opened.set()
        assert await start(pool, [gate.work("next")]) == ["next"]

    play(scene)


def test_a_full_queue_refuses_its_largest_caller_not_another() -> None:
    async def scene(pool: DecodePool, gate: Gate) -> None:
        running = [start(pool, [gate.work()]) for _ in range(2)]
        await until(lambda: gate.begun == 2)
        waiting = [start(pool, [gate.work(seconds=1.0)]) for _ in range(19)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match=r"waiting ones take 9.* s") as refused:
            await pool.run([gate.work(seconds=1.0)], "a", None)
        assert refused.value.retry_after_s > 5
        other = start(pool, [gate.work("b", seconds=3.0)], "b")
        gate.opened.set()
        assert await other == ["b"]
        done = await asyncio.gather(*running, *waiting, return_exceptions=True)
        lost = [place for place, one in enumerate(done) if isinstance(one, Overloaded)]
        assert lost == list(range(len(done) - 3, len(done)))

    play(scene, LIMITS._replace(max_wait_s=9.9))


def test_files_that_wait_are_bounded_in_bytes() -> None:
    async def scene(pool: DecodePool, gate: Gate) -> None:
        running = [start(pool, [gate.work()]) for _ in range(2)]
        await until(lambda: gate.begun == 2)
        waiting = [start(pool, [gate.work()]) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match=r"30 bytes, allowed .* 35 bytes"):
            await pool.run([gate.work()], "a", None)
        gate.opened.set()
        await asyncio.gather(*running, *waiting)

    play(scene, LIMITS._replace(max_file_bytes=35))


def test_an_error_ends_the_other_work_of_its_request_alone() -> None:
    def fail(pause: Pause) -> str:
        raise ValueError("broken")

    async def scene(pool: DecodePool, gate: Gate) -> None:
        others = start(pool, [gate.work("whole")])
        await until(lambda: gate.begun == 1)
        broken = Work(fail, "PNG", 1000.0, 1, 10)
        with pytest.raises(ValueError, match="broken"):
            await pool.run([broken, *[gate.work() for _ in range(9)]], "a", None)
        await until(lambda: pool.counts() == (1, 0))
        gate.opened.set()
        assert await others == ["whole"]
        assert gate.ended == 1

    play(scene)


def test_nothing_of_a_request_stays_until_a_collection() -> None:
    class Held:
        pass

    def make(fails: bool) -> tuple[Work[Held], weakref.ref[Held]]:
        held = Held()

        def run(pause: Pause, held: Held = held) -> Held:
            if fails:
                raise InvalidInput("wrong")
            return held

        return Work(run, "PNG", 1000.0, 1, 10), weakref.ref(held)

    async def scene(pool: DecodePool, gate: Gate) -> None:
        for fails, deadline in ((False, None), (True, None), (False, 0.0)):
            work, held = make(fails)
            with contextlib.suppress(InvalidInput, DeadlineExceeded):
                await pool.run([work], "a", deadline)
            del work
            await until(lambda held=held: held() is None)  # type: ignore[misc]

    gc.disable()
    try:
        play(scene)
    finally:
        gc.enable()


def test_closing_waits_for_nothing() -> None:
    async def scene(pool: DecodePool, gate: Gate) -> None:
        tasks = [start(pool, [gate.work()]) for _ in range(6)]
        await until(lambda: gate.begun == 2)
        pool.close()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(one, RouteUnavailable) for one in done)
        await until(lambda: gate.inside == 0)
        assert gate.begun == 2

    play(scene)


def test_a_guess_that_was_wrong_mends_itself_either_way() -> None:
    pool = DecodePool(LIMITS)
    times = pool.times
    guess_s = times.predict_s("PNG", 1e6)
    for _ in range(30):
        times.observe("PNG", 1e6, 0.002)
    assert times.predict_s("PNG", 1e6) < 0.003 < guess_s
    times.observe_aborted("PNG", 1e6, 0.1)
    assert 0.1 < times.predict_s("PNG", 1e6) < 0.15
    for _ in range(1000):
        times.observe_refused("PNG")
    assert times.predict_s("PNG", 1e6) < 0.003
    times.observe_aborted("PNG", 1e6, 1e6)
    assert times.predict_s("PNG", 1e6) < 1.0  # bounded: it is one caller's picture, after all
    pool.close()
