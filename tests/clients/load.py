"""Load on a live server for tests: bodies, callers that check every answer, and what is right."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from core.devices.onnx import OnnxDevice
from harness.live_server import LiveServer
from harness.tiny_routes import make_pictures
from harness.waiting import until
from routes.loading import load_route
from routes.offline import run_offline
from tests.clients.raw_http import RawClient, RawReply, Refused

PICTURES = make_pictures(32, seed=5)
TENSOR = {"name": "image", "datatype": "UINT8", "shape": [1, 28, 28]}
SLOW_WIDTH = 160  # channels that make the large stage take milliseconds


def labels_of(directory: Path, **controls: float) -> list[int]:
    """What a run without a server answers."""
    route = load_route(directory, OnnxDevice())
    rows = run_offline(route.pipeline, {"image": PICTURES}, OnnxDevice(), controls=controls)
    labels = []
    for row in rows:
        assert row.outcome is not None
        labels.append(int(row.outcome.outputs["label"]))
    return labels


def first_labels_of(directory: Path) -> list[int]:
    """What the first stage answers, for rows that are cut short after it."""
    route = load_route(directory, OnnxDevice())
    rows = run_offline(route.pipeline, {"image": PICTURES}, OnnxDevice())
    answers = [row.steps[0].answer for row in rows]
    return [int(answer.outputs["label"]) for answer in answers if answer is not None]


def body_of(index: int, timeout_ms: float | None = None, *outputs: str) -> bytes:
    return body_with(PICTURES[index % len(PICTURES)], timeout_ms, *outputs)


def body_with(
    picture: npt.NDArray[np.uint8], timeout_ms: float | None = None, *outputs: str
) -> bytes:
    parameters: dict[str, object] = {"no_cache": True}
    if timeout_ms is not None:
        parameters["timeout_ms"] = timeout_ms
    return json.dumps(
        {
            "inputs": [{**TENSOR, "data": picture.ravel().tolist()}],
            "parameters": parameters,
            "outputs": [{"name": name} for name in outputs],
        }
    ).encode()


BODIES = [body_of(index) for index in range(len(PICTURES))]


async def ask(client: RawClient, index: int, timeout_ms: float | None = None) -> RawReply:
    body = BODIES[index % len(BODIES)] if timeout_ms is None else body_of(index, timeout_ms)
    return await client.post("/v2/models/tiny/infer", body)


def output(reply: RawReply, name: str) -> Any:
    outputs: list[dict[str, Any]] = json.loads(reply.body)["outputs"]
    return next(one["data"][0] for one in outputs if one["name"] == name)


def label_in(reply: RawReply) -> int:
    return int(output(reply, "label"))


def profile_of(server: LiveServer) -> dict[str, dict[str, float]]:
    """What /v1/routes says of the newest version's stages."""
    found: dict[str, dict[str, float]] = json.loads(server.get("/v1/routes"))["routes"][0][
        "profile"
    ]
    return found


def series_of(server: LiveServer) -> list[str]:
    """The names and labels of all metric series, without their values."""
    lines = server.get("/metrics").decode().splitlines()
    return sorted(line.rsplit(" ", 1)[0] for line in lines if not line.startswith("#"))


class Listening(Protocol):
    @property
    def http_port(self) -> int: ...


class Load:
    """`async with Load(server, clients):` closed-loop callers, every answer checked."""

    def __init__(self, server: Listening, clients: int, right: Sequence[int]) -> None:
        self._server = server
        self._clients = clients
        self._right = right
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.answered = [0] * clients
        self.versions: set[object] = set()

    async def __aenter__(self) -> "Load":
        self._tasks = [asyncio.create_task(self._one(n)) for n in range(self._clients)]
        return self

    async def __aexit__(self, *error: object) -> None:
        self._stop.set()
        await asyncio.gather(*self._tasks)

    async def more(self, answers: int) -> None:
        """Until each caller has got so many more."""
        goals = [count + answers for count in self.answered]

        def have_got() -> bool:
            over = any(task.done() for task in self._tasks)
            return over or all(map(int.__ge__, self.answered, goals))

        await until(have_got, "the callers get no answers")

    async def _one(self, offset: int) -> None:
        """Until told to stop or refused a connection; an answer that breaks off raises."""
        async with RawClient(self._server.http_port) as client:
            while not self._stop.is_set():
                index = offset + self.answered[offset]
                try:
                    reply = await ask(client, index)
                except Refused:
                    return
                assert reply.status == 200, reply.body
                self.versions.add(reply.json()["model_version"])
                if self._right:
                    assert label_in(reply) == self._right[index % len(self._right)]
                self.answered[offset] += 1
