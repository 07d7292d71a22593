"""Closed-loop gRPC callers for tests, which record every call's end."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

import numpy as np
import numpy.typing as npt
import tritonclient.grpc.aio as triton
from tritonclient.utils import InferenceServerException

from harness.waiting import until

_REFUSALS = {"StatusCode.UNAVAILABLE", "StatusCode.CANCELLED"}
_OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]  # channels of a process share one else


class RpcLoad:
    """`async with RpcLoad(address, pictures, clients=4) as calls:` calls until the server refuses
    new calls, after `expect_refusals`; all else is a loss.

    Calls that begin while the server stops may be refused: gRPC says UNAVAILABLE to those that
    come behind its goodbye, CANCELLED to those that cross it on the way.
    """

    def __init__(
        self,
        address: str,
        pictures: npt.NDArray[np.uint8],
        *,
        clients: int,
        route: str = "tiny",
    ) -> None:
        self._address = address
        self._pictures = pictures
        self._route = route
        self._answered = [0] * clients
        self._refusals_expected = False
        self.labels: list[tuple[int, int]] = []  # picture's index, label
        self.lost: list[str] = []  # accepted, but without an answer

    async def __aenter__(self) -> "RpcLoad":
        self._stack = AsyncExitStack()
        self._clients: list[Any] = [  # tritonclient is untyped
            await self._stack.enter_async_context(
                triton.InferenceServerClient(self._address, channel_args=_OWN_CONNECTION)
            )
            for _ in self._answered
        ]
        self._tasks = [asyncio.create_task(self._one(n)) for n in range(len(self._clients))]
        return self

    async def __aexit__(self, *error: object) -> None:
        if error[0] is not None:
            for task in self._tasks:
                task.cancel()
        await asyncio.gather(*self._tasks)
        await self._stack.aclose()

    @property
    def answered(self) -> int:
        return len(self.labels)

    def seen(self) -> set[tuple[int, int]]:
        return {(index % len(self._pictures), label) for index, label in self.labels}

    async def more(self, answers: int) -> None:
        """Until each caller has got so many more."""
        goals = [count + answers for count in self._answered]

        def have_got() -> bool:
            over = any(task.done() for task in self._tasks)
            return over or all(map(int.__ge__, self._answered, goals))

        await until(have_got, "the callers get no answers")

    async def expect_refusals(self) -> None:
        """From now on. What began before has reached the server when this returns: a later call
        on the same connection was answered.
        """
        self._refusals_expected = True
        await asyncio.gather(*(client.is_server_live() for client in self._clients))

    async def _one(self, offset: int) -> None:
        index = offset
        while True:
            row = self._pictures[index % len(self._pictures)][None]
            tensor = triton.InferInput("image", list(row.shape), "UINT8")
            tensor.set_data_from_numpy(row)
            late = self._refusals_expected
            try:
                result = await self._clients[offset].infer(
                    self._route, [tensor], parameters={"no_cache": True}
                )
            except InferenceServerException as error:
                if not late or error.status() not in _REFUSALS:
                    self.lost.append(str(error))
                return
            labels: Sequence[int] = result.as_numpy("label")
            self.labels.append((index, int(labels[0])))
            self._answered[offset] += 1
            index += 1
