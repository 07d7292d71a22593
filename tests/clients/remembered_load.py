"""Load on both endpoints that memory may answer, the same pictures again and again, every answer
checked. With a first tier that has no room, each of them is asked of the second.
"""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

import numpy as np
import numpy.typing as npt
import tritonclient.grpc.aio as triton
from tritonclient.utils import InferenceServerException

from harness.live_server import LiveServer
from harness.waiting import until
from tests.clients.load import TENSOR, label_in
from tests.clients.raw_http import RawClient, Refused

RETRY_S = 0.01
Pictures = npt.NDArray[np.uint8]


@dataclass
class RememberedLoad:
    """`async with RememberedLoad(server, pictures, right):`; half of the clients ask over gRPC.

    `patient` clients ask again what broke off, as callers of a server whose processes die do.
    """

    server: LiveServer
    pictures: Pictures
    right: Sequence[int]
    clients: int = 8
    patient: bool = False
    thinking_s: float = 0.0  # of a caller between two requests
    http: int = 0  # answered rightly
    grpc: int = 0
    retried: int = 0
    wrong: int = 0
    errors: list[str] = field(default_factory=list)

    async def __aenter__(self) -> "RememberedLoad":
        self._numbers = count()
        self._stop = asyncio.Event()
        asks = (self._ask_http, self._ask_grpc)
        self._tasks = [asyncio.create_task(asks[n % 2]()) for n in range(self.clients)]
        return self

    async def __aexit__(self, *error: object) -> None:
        self._stop.set()
        await asyncio.gather(*self._tasks)

    async def more(self, answers: int) -> None:
        """Until each endpoint has given so many more."""
        goals = self.http + answers, self.grpc + answers

        def have_answered() -> bool:
            if self._stop.is_set():
                return True
            assert not any(task.done() for task in self._tasks), "a caller has ended"
            return self.http >= goals[0] and self.grpc >= goals[1]

        await until(have_answered, "the callers get no answers", 60.0)

    def _take(self) -> int:
        return next(self._numbers) % len(self.pictures)

    async def _ask_http(self) -> None:
        async with RawClient(self.server.http_port) as client:
            while not self._stop.is_set():
                index = self._take()
                data = self.pictures[index].ravel().tolist()
                body = json.dumps({"inputs": [{**TENSOR, "data": data}]}).encode()
                while not self._stop.is_set():
                    try:
                        reply = await client.post("/v2/models/tiny/infer", body)
                    except (ConnectionError, Refused) as error:
                        await self._note(repr(error))
                        continue
                    if reply.status != 200:
                        self.errors.append(f"{reply.status} {reply.body!r}")
                    elif label_in(reply) != self.right[index]:
                        self.wrong += 1
                    else:
                        self.http += 1
                    await asyncio.sleep(self.thinking_s)
                    break

    async def _ask_grpc(self) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with triton.InferenceServerClient(
            self.server.grpc_address, channel_args=options
        ) as client:
            while not self._stop.is_set():
                index = self._take()
                tensor = triton.InferInput("image", [1, *self.pictures.shape[1:]], "UINT8")
                tensor.set_data_from_numpy(self.pictures[index][None])
                while not self._stop.is_set():
                    try:
                        result = await client.infer("tiny", [tensor])
                    except InferenceServerException as error:
                        await self._note(str(error), error.status() == "StatusCode.UNAVAILABLE")
                        continue
                    if int(result.as_numpy("label")[0]) != self.right[index]:
                        self.wrong += 1
                    else:
                        self.grpc += 1
                    await asyncio.sleep(self.thinking_s)
                    break

    async def _note(self, error: str, retryable: bool = True) -> None:
        if self.patient and retryable:
            self.retried += 1
            await asyncio.sleep(RETRY_S)
        else:
            self.errors.append(error)
            self._stop.set()
