"""A real, tiny engine for tests of the endpoints: it answers from the pixels, without models."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import numpy as np

from cache.local_cache import LocalCache
from core.errors import RouteUnavailable, UnknownRoute
from core.manifest import Manifest
from core.messages import Answer, Batch, Key, Outcome, Reply, Request, Step
from monitoring.metrics.collector import Metrics
from serving.engine.admission import Admission, Admitted
from serving.engine.caches.cached_rows import CachedRows
from serving.engine.calls import Call
from serving.engine.catalog import AUTO, Catalog, ServedRoute
from serving.engine.group_calls import GroupCall
from serving.scheduling.progress import HEALTHY, Health
from tests.fakes.replies import reply_with


def make_manifest(**changes: Any) -> Manifest:
    table: dict[str, Any] = {
        "format": 1,
        "route": "small",
        "version": "1",
        "task": "shades",
        "pipeline": "shade",
        "expected_macs": 7.0,
        "inputs": [{"name": "image", "datatype": "UINT8", "shape": [-1, 2, 3]}],
        "outputs": [
            {"name": "label", "datatype": "INT64", "shape": [-1]},
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]},
        ],
        "labels": ["dark", "bright"],
        "picture": {"input": "image", "height": 2, "width": 3, "channels": 1},
        "stages": [{"name": "shade", "file": "shade.onnx", "macs": 7}],
        "files": {},
        "provenance": {},
    }
    return Manifest.model_validate({**table, **changes})


def make_answer(outputs: Mapping[str, Any] | None = None, energy_mj: float | None = None) -> Answer:
    if outputs is None:
        outputs = {"label": np.int64(1), "probabilities": np.array([0.25, 0.75], np.float32)}
    return Answer(Outcome(outputs, 0.75, "shade"), "confidence", False, 7, energy_mj, 0.002)


def make_reply(*answers: Answer) -> Reply:
    return reply_with(answers)


class _NoStage:
    name = "shade"

    def run(self, rows: Batch) -> Sequence[Step]:
        raise AssertionError("this engine runs no stages")


class _Shade:
    digest = bytes(32)
    first = "shade"
    stages: Mapping[str, _NoStage] = {"shade": _NoStage()}


class SmallEngine:
    """A row is bright when its mean is over 127; `gate`, while it is closed, holds answers back."""

    def __init__(self, *manifests: Manifest) -> None:
        given = manifests or (make_manifest(), make_manifest(version="2"))
        self.catalog = Catalog(
            ServedRoute(manifest, _Shade(), Metrics().add_route("small", ("shade",)))
            for manifest in given
        )
        self.cached_rows = CachedRows(LocalCache(2**20), Admission(256))
        self.memory = LocalCache(1 << 20)
        self.draining = False
        self.state = HEALTHY
        self.failure: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.requests: list[Request] = []
        self.cancelled = asyncio.Event()

    def health(self) -> Health:
        return self.state

    def resolve(self, route: str, version: str | None, key: str = "") -> ServedRoute:
        if not route.startswith(AUTO):
            return self.catalog.resolve(route, version, key)
        for served in self.catalog.newest():
            if served.manifest.task == route.removeprefix(AUTO):
                return served
        raise UnknownRoute(f"no route serves {route}")

    def admit(self, request: Request, key: Key | None = None) -> Admitted:
        served = self.resolve(request.route, request.version)
        return Admitted(served, [None] * len(next(iter(request.inputs.values()))), 0.0)

    def answer_from_cache(self, request: Request, admitted: Admitted) -> Reply | None:
        return None

    def submit(self, request: Request, admitted: Admitted, done: Callable[[], object]) -> Call:
        raise RouteUnavailable("this engine answers coroutines only")

    def gathers(self, served: ServedRoute) -> bool:
        return False

    def admit_group(
        self, request: Request, served: ServedRoute, keys: Sequence[Key | None]
    ) -> Admitted:
        return Admitted(served, keys, 0.0)

    def submit_group(
        self, request: Request, admitted: Admitted, done: Callable[[], object]
    ) -> GroupCall:
        raise RouteUnavailable("this engine answers coroutines only")

    def release_row(self, call: GroupCall, row: int) -> None:
        raise NotImplementedError

    def result(self, call: Call) -> Reply:
        raise NotImplementedError

    def release_call(self, call: Call) -> None:
        raise NotImplementedError

    async def answer(self, request: Request, admitted: Admitted | None = None) -> Reply:
        self.requests.append(request)
        if self.failure is not None:
            raise self.failure
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        served = self.resolve(request.route, request.version)
        answers = [_answer(row) for row in next(iter(request.inputs.values()))]
        return reply_with(answers, served.name, served.version)

    async def infer(
        self, request: Request, admitted: Admitted | None = None
    ) -> AsyncIterator[Reply]:
        yield await self.answer(request, admitted)


def _answer(row: np.ndarray) -> Answer:
    bright = float(row.mean()) / 255
    outputs: dict[str, Any] = {
        "label": np.int64(bright > 0.5),
        "probabilities": np.array([1 - bright, bright], np.float32),
    }
    outcome = Outcome(outputs, max(bright, 1 - bright), "shade")
    return Answer(outcome, "last_stage", False, 7, None, 0.002)
