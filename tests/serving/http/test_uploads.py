"""Bodies that arrive too slowly are ended, and give way where others wait for room."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

from core.errors import RequestTimeout, RouteUnavailable
from harness.waiting import until
from serving.http.body import BodyBudget
from serving.http.uploads import STALLED_S, UploadPace


class Sending:
    """A client that sends its body piece by piece, and the task that reads it."""

    def __init__(self, budget: BodyBudget, caller: str = "") -> None:
        self._pieces: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()
        self.task = asyncio.create_task(budget.read({}, self._pieces.get, caller))

    async def send(self, piece: bytes, *, more: bool = True) -> None:
        self._pieces.put_nowait({"type": "http.request", "body": piece, "more_body": more})
        for _ in range(3):
            await asyncio.sleep(0)

    async def refused(self) -> str:
        """Why it was ended, which must be known by now."""
        await until(self.task.done)
        with pytest.raises(RequestTimeout) as told:
            await self.task
        return str(told.value)


def play(script: Callable[[BodyBudget], Awaitable[None]]) -> None:
    """Afterwards nothing is held, whatever happened."""

    async def run() -> None:
        budget = BodyBudget(100, 200, UploadPace(20.0, 4.0, 0.5))
        await script(budget)
        assert budget.in_flight_bytes == 0
        assert not budget.uploads.sweep.advance(0.0)

    asyncio.run(run())


def test_a_body_without_a_new_byte_is_ended() -> None:
    async def script(budget: BodyBudget) -> None:
        silent, moving = Sending(budget), Sending(budget)
        for _ in range(2):
            await moving.send(b"x" * 50)
            await silent.send(b"")  # no byte either
            budget.uploads.sweep.advance(10.0)
        assert await silent.refused() == "body: no byte came for 20 s"
        await moving.send(b"", more=False)
        budget.give_back(len(await moving.task))

    play(script)


def test_a_body_that_drips_is_ended_by_its_rate() -> None:
    async def script(budget: BodyBudget) -> None:
        dripping = Sending(budget)
        for _ in range(2):
            await dripping.send(b"x")
            budget.uploads.sweep.advance(14.0)
        assert await dripping.refused() == "body: given 2 bytes in 28 s, needed 4 a second"

    play(script)


def test_while_the_server_drains_silent_bodies_get_a_second() -> None:
    async def script(budget: BodyBudget) -> None:
        silent = Sending(budget)
        await silent.send(b"x")
        budget.uploads.sweep.advance(0.9)
        await silent.send(b"x")
        budget.uploads.sweep.advance(0.9)
        assert not silent.task.done()
        budget.uploads.sweep.advance(0.1)
        assert await silent.refused() == "body: no byte came for 1 s"

    async def run() -> None:
        await script(BodyBudget(100, 200, draining=lambda: True))

    asyncio.run(run())


def test_the_longest_stalled_gives_way_and_a_moving_one_does_not() -> None:
    async def script(budget: BodyBudget) -> None:
        first, second = Sending(budget), Sending(budget)
        await first.send(b"x" * 70)
        budget.uploads.sweep.advance(1.0)
        await second.send(b"x" * 70)
        third = Sending(budget)
        await third.send(b"x" * 20, more=False)  # over the share of one caller: nobody is stalled
        with pytest.raises(RouteUnavailable, match="of this caller under way hold 140 bytes"):
            await third.task
        budget.uploads.sweep.advance(STALLED_S - 1.0)
        fourth = Sending(budget)
        await fourth.send(b"x" * 20, more=False)
        assert "arrived too slowly while other requests wait" in await first.refused()
        budget.give_back(len(await fourth.task))
        await second.send(b"x", more=False)
        budget.give_back(len(await second.task))

    play(script)


def test_the_caller_that_holds_most_gives_way_first() -> None:
    async def script(budget: BodyBudget) -> None:
        small, large, large_too = (
            Sending(budget, caller) for caller in ("small", "large", "large")
        )
        await small.send(b"x" * 60)  # the longest stalled
        for one in (large, large_too):
            budget.uploads.sweep.advance(0.1)
            await one.send(b"x" * 70)
        budget.uploads.sweep.advance(STALLED_S)
        late = Sending(budget, "late")
        await late.send(b"x" * 50, more=False)
        await large.refused()
        budget.give_back(len(await late.task), "late")
        for one, caller in ((small, "small"), (large_too, "large")):
            await one.send(b"", more=False)
            budget.give_back(len(await one.task), caller)

    play(script)


def test_a_caller_over_its_share_gives_way_although_it_moves() -> None:
    async def script(budget: BodyBudget) -> None:
        hogs = [Sending(budget, "hog") for _ in range(2)]
        other = Sending(budget, "other")
        for one in hogs:
            await one.send(b"x" * 75)
        await other.send(b"x" * 40)
        late = Sending(budget, "late")
        await late.send(b"x" * 30, more=False)
        budget.give_back(len(await late.task), "late")
        assert sorted(one.task.done() for one in hogs) == [False, True]
        for one, caller in ((hogs[0], "hog"), (hogs[1], "hog"), (other, "other")):
            if not one.task.done():
                await one.send(b"", more=False)
                budget.give_back(len(await one.task), caller)
            else:
                await one.refused()

    play(script)


def test_a_body_that_drips_gives_way_as_one_that_stalls() -> None:
    async def script(budget: BodyBudget) -> None:
        dripping, quick = Sending(budget), Sending(budget)
        await dripping.send(b"x" * 70)
        await quick.send(b"x" * 10)
        for _ in range(4):
            budget.uploads.sweep.advance(0.5)
            await dripping.send(b"x")
            await quick.send(b"x" * 15)
        await quick.send(b"x" * 10, more=False)  # over the share of their caller
        assert "arrived too slowly while other requests wait" in await dripping.refused()
        budget.give_back(len(await quick.task))

    play(script)


def test_that_one_caller_finds_no_room_keeps_none_from_another() -> None:
    async def script(budget: BodyBudget) -> None:
        hogs = [Sending(budget, "hog") for _ in range(2)]
        other = Sending(budget, "other")
        for one in hogs:
            await one.send(b"x" * 75)
        await other.send(b"x" * 50)
        third = Sending(budget, "hog")
        await third.send(b"x", more=False)
        with pytest.raises(RouteUnavailable, match="hold 200 bytes"):
            await third.task
        late = Sending(budget, "late")
        await late.send(b"x" * 20, more=False)
        budget.give_back(len(await late.task), "late")
        for one, caller in ((hogs[0], "hog"), (hogs[1], "hog"), (other, "other")):
            if not one.task.done():
                await one.send(b"", more=False)
                budget.give_back(len(await one.task), caller)
            else:
                await one.refused()

    play(script)


def test_a_caller_of_many_bodies_leaves_room_for_others() -> None:
    async def script(budget: BodyBudget) -> None:
        assert budget.try_take(100, "hog")
        assert budget.try_take(50, "hog")
        assert not budget.try_take(1, "hog")
        assert budget.try_take(50, "other")
        assert not budget.try_take(1, "other")
        for body, caller in ((b"x" * 150, "hog"), (b"x" * 50, "other")):
            budget.give_back(len(body), caller)

    play(script)


def test_a_cancellation_from_elsewhere_stays_one() -> None:
    async def script(budget: BodyBudget) -> None:
        one = Sending(budget)
        await one.send(b"x" * 10)
        one.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await one.task

    play(script)
