"""Closed-loop gRPC callers for tests, which record every call's end."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import tritonclient.grpc.aio as triton
from tritonclient.utils import InferenceServerException

_REFUSALS = {"StatusCode.UNAVAILABLE", "StatusCode.CANCELLED"}


@dataclass
class Calls:
    """What became of the calls of one run."""

    labels: list[tuple[int, int]] = field(default_factory=list)  # picture's index, label
    lost: list[str] = field(default_factory=list)  # accepted, but without an answer

    @property
    def answered(self) -> int:
        return len(self.labels)

    def labels_of(self, pictures: int) -> set[tuple[int, int]]:
        return {(index % pictures, label) for index, label in self.labels}


async def infer_calls(
    address: str,
    pictures: npt.NDArray[np.uint8],
    *,
    clients: int,
    stopping: asyncio.Event,
    route: str = "tiny",
) -> Calls:
    """Call until the server refuses new calls, after `stopping` was set; all else is a loss.

    Calls that begin while the server stops may be refused: gRPC says UNAVAILABLE to those that
    come behind its goodbye, CANCELLED to those that cross it on the way.
    """
    calls = Calls()

    async def one(offset: int) -> None:
        index = offset
        async with triton.InferenceServerClient(address) as client:
            while True:
                row = pictures[index % len(pictures)][None]
                tensor = triton.InferInput("image", list(row.shape), "UINT8")
                tensor.set_data_from_numpy(row)
                late = stopping.is_set()
                try:
                    result = await client.infer(route, [tensor], parameters={"no_cache": True})
                except InferenceServerException as error:
                    if not late or error.status() not in _REFUSALS:
                        calls.lost.append(str(error))
                    return
                labels: Sequence[int] = result.as_numpy("label")
                calls.labels.append((index, int(labels[0])))
                index += 1

    await asyncio.gather(*(one(offset) for offset in range(clients)))
    return calls
