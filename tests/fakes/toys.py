"""Toy pipelines for tests of the engine: real stages, a few lines each, that count what they are
given.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from cache.local_cache import LocalCache
from core.devices.interface import Device
from core.devices.onnx import OnnxDevice
from core.manifest import Manifest
from core.messages import Array, Batch, Next, Outcome, Reply, Request, Stage, StateHandle, Step
from monitoring.metrics.collector import Metrics
from monitoring.metrics.switched_off import NoMetrics
from serving.engine.catalog import Catalog, ServedRoute
from serving.engine.engine import Engine
from serving.settings import EngineSettings

T = TypeVar("T")


@dataclass
class ToyStage:
    """Calls `step` on each row's number and keeps the sizes of its batches."""

    name: str
    step: Callable[[float], Step]
    batches: list[list[float]] = field(default_factory=list)
    gate: threading.Event | None = None  # `run` waits for it: the test decides when a batch ends

    def run(self, rows: Batch) -> Sequence[Step]:
        values = [float(value) for value in rows.inputs["x"]]
        self.batches.append(values)
        if self.gate is not None and values[0] >= 0:
            assert self.gate.wait(10.0)
        return [self.step(value) for value in values]


@dataclass
class ToyPipeline:
    first: str
    stages: Mapping[str, Stage]
    digest: bytes = b"d" * 32


@dataclass
class KeepingPipeline(ToyPipeline):
    """Its rows keep states: `row_bytes` says how many bytes a row's number may need."""

    row_bytes: Callable[[float], int] = lambda _: 0

    def state_bytes(
        self, inputs: Mapping[str, Array], _controls: Mapping[str, Any], /
    ) -> npt.NDArray[np.int64]:
        return np.array([self.row_bytes(float(value)) for value in inputs["x"]], dtype=np.int64)


def outcome(value: float, exit: str, confidence: float = 0.9) -> Outcome:
    return Outcome({"y": np.asarray(value)}, confidence, exit)


def final(value: float, exit: str, confidence: float = 0.9) -> Step:
    return Step(1, outcome(value, exit, confidence), None)


def onward(value: float, exit: str, to: str, confidence: float = 0.5) -> Step:
    return Step(1, outcome(value, exit, confidence), Next(to, {"x": np.asarray(value)}))


def toy_manifest(
    stages: Sequence[str], *, route: str = "toy", version: str = "1", max_batch: int = 32
) -> Manifest:
    return Manifest.model_validate(
        {
            "format": 1,
            "route": route,
            "version": version,
            "task": "toys",
            "pipeline": "toy",
            "expected_macs": 1.0,
            "inputs": [{"name": "x", "datatype": "FP64", "shape": [-1]}],
            "outputs": [{"name": "y", "datatype": "FP64", "shape": [-1]}],
            "stages": [
                {"name": name, "file": f"{name}.onnx", "macs": 1, "max_batch": max_batch}
                for name in stages
            ],
            "files": {},
            "provenance": {},
        }
    )


def serve_toy(
    *stages: Stage,
    route: str = "toy",
    version: str = "1",
    max_batch: int = 32,
    is_cached: bool = True,
    metrics: Metrics | NoMetrics | None = None,
    device: str = "",
    row_bytes: Callable[[float], int] | None = None,  # of states
) -> ServedRoute:
    """A route of these stages, entered at the first."""
    manifest = toy_manifest(
        [stage.name for stage in stages], route=route, version=version, max_batch=max_batch
    )
    digest = f"{route}/{version}".encode().ljust(32, b".")
    by_name = {stage.name: stage for stage in stages}
    pipeline = ToyPipeline(stages[0].name, by_name, digest)
    if row_bytes is not None:
        pipeline = KeepingPipeline(stages[0].name, by_name, digest, row_bytes)
    counts = (metrics or NoMetrics()).add_route(route, [stage.name for stage in stages])
    return ServedRoute(manifest, pipeline, counts, is_cached=is_cached, device=device)


def ask(*values: float, route: str = "toy", **fields: Any) -> Request:  # Any: Request's own fields
    return Request(route, {"x": np.array(values, dtype=np.float64)}, **fields)


def with_engine(
    use: Callable[[Engine], Coroutine[Any, Any, T]],
    *routes: ServedRoute,
    devices: Sequence[Device] = (),
    **settings: Any,
) -> T:
    """Run a coroutine against a live engine, and end the engine whatever happens."""

    async def main() -> T:
        engine = Engine(
            Catalog(routes),
            EngineSettings(**settings),
            LocalCache(1 << 20),
            *(devices or [OnnxDevice()]),
        )
        try:
            return await asyncio.wait_for(use(engine), 20.0)
        finally:
            engine.close()

    return asyncio.run(main())


class CountingHandle(StateHandle):
    """A state that knows how often it was freed."""

    __slots__ = ("freed",)

    def __init__(self, value: object, size_bytes: int) -> None:
        super().__init__(value, size_bytes)
        self.freed = 0

    def free(self) -> None:
        super().free()
        self.freed += 1


def values(reply: Reply) -> list[float]:
    return [float(answer.outcome.outputs["y"]) for answer in reply.answers]


def cascade(gate: threading.Event | None = None) -> tuple[ToyStage, ToyStage]:
    """Even numbers stop at the light stage; odd ones go on to the large one, which adds 100."""
    light = ToyStage(
        "light", lambda x: final(x, "light") if x % 2 == 0 else onward(x, "light", "large")
    )
    large = ToyStage("large", lambda x: final(x + 100, "large"), gate=gate)
    return light, large
