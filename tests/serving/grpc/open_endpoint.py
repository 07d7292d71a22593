"""An open gRPC endpoint for tests: a real port, a small engine behind it, raw calls in front."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import grpc
import grpc.aio
import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from core.manifest import Manifest
from core.messages import Answer, Outcome, Reply, Request, Stage
from monitoring.access_log import AccessLog
from monitoring.metrics.switched_off import NoMetrics
from monitoring.tracing.sampling import NO_TRACING, Tracing
from serving.configuration.certificates import ServerTls
from serving.engine.admission import Admitted
from serving.engine.catalog import Catalog, ServedRoute
from serving.grpc.endpoint import GrpcEndpoint
from serving.scheduling.progress import HEALTHY, Health
from serving.settings import ServerSettings
from tests.fakes.replies import reply_with

T = TypeVar("T")
SERVICE = "/inference.GRPCInferenceService/"
PICTURES = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
PATIENCE_S = 20.0
# Clients in one process share connections unless told otherwise; a test wants its own.
OPTIONS = [("grpc.use_local_subchannel_pool", 1)]


class Idle:
    """A stage that the small engine never runs."""

    name = "only"

    def run(self, rows: object, /) -> list[Any]:
        raise AssertionError(rows)


@dataclass
class Toy:
    first: str = "only"
    digest: bytes = b"d" * 32
    stages: dict[str, Stage] = field(default_factory=lambda: {"only": Idle()})


def serve_route(route: str, version: str) -> ServedRoute:
    manifest = Manifest.model_validate(
        {
            "format": 1,
            "route": route,
            "version": version,
            "task": "sums",
            "pipeline": "toy",
            "expected_macs": 1.0,
            "inputs": [{"name": "image", "datatype": "UINT8", "shape": [-1, 2, 3]}],
            "outputs": [
                {"name": "label", "datatype": "INT64", "shape": [-1]},
                {"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]},
            ],
            "stages": [{"name": "only", "file": "only.onnx", "macs": 1}],
            "files": {},
            "provenance": {},
        }
    )
    return ServedRoute(manifest, Toy(), NoMetrics().add_route(route, ["only"]))


class SumEngine:
    """Labels a picture with the sum of its pixels; `slow` waits for the gate."""

    def __init__(self) -> None:
        self.catalog = Catalog([serve_route("sum", "1"), serve_route("slow", "2")])
        self.draining = False
        self.state = HEALTHY
        self.gate = asyncio.Event()
        self.requests: list[Request] = []
        self.cancelled = 0
        self.arrived = asyncio.Condition()
        self.failure: Exception | None = None

    def health(self) -> Health:
        return self.state

    def resolve(self, route: str, version: str | None, key: str = "") -> ServedRoute:
        return self.catalog.resolve("sum" if route == "auto:sums" else route, version, key)

    def admit(self, request: Request) -> Admitted:
        served = self.resolve(request.route, request.version)
        return Admitted(served, [None] * len(next(iter(request.inputs.values()))), 0.0)

    async def answer(self, request: Request, admitted: Admitted | None = None) -> Reply:
        return [reply async for reply in self._replies(request, stream=False)][-1]

    async def infer(
        self, request: Request, admitted: Admitted | None = None
    ) -> AsyncIterator[Reply]:
        async for reply in self._replies(request, stream=request.stream):
            yield reply

    async def wait_for(self, fact: Callable[[], bool]) -> None:
        async with self.arrived:
            await asyncio.wait_for(self.arrived.wait_for(fact), PATIENCE_S)

    async def _replies(self, request: Request, *, stream: bool) -> AsyncIterator[Reply]:
        self.requests.append(request)
        await self._tell()
        try:
            if self.failure is not None:
                raise self.failure
            if request.route == "slow":
                await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            asyncio.get_running_loop().create_task(self._tell())
            raise
        rows = [self._row(picture) for picture in request.inputs["image"]]
        served = self.resolve(request.route, request.version)
        head = (served.name, served.version, served.digest)
        if stream:
            for row, answer in enumerate(rows):
                final = row == len(rows) - 1
                yield reply_with([answer], *head, rows=[row], final=final)
        else:
            yield reply_with(rows, *head)

    async def _tell(self) -> None:
        async with self.arrived:
            self.arrived.notify_all()

    def _row(self, picture: np.ndarray[Any, Any]) -> Answer:
        outputs = {
            "label": np.int64(picture.sum()),
            "probabilities": np.array([0.25, 0.75], np.float32),
        }
        outcome = Outcome({k: np.asarray(v) for k, v in outputs.items()}, 0.75, "only")
        return Answer(outcome, "last_stage", False, 7, None, 0.002)


@dataclass
class Counts:
    seen: list[tuple[str | None, str]] = field(default_factory=list)

    def count_request(self, route: str | None, result: str, /) -> None:
        self.seen.append((route, result))

    def request_results(self, route: str, /) -> Mapping[str, int]:
        return Counter(result for seen, result in self.seen if seen == route)


@dataclass
class GrpcScene:
    """An open endpoint and what is behind it."""

    engine: SumEngine
    counts: Counts
    endpoint: GrpcEndpoint
    port: int
    channel: Any

    def call(self, method: str, request: Any, **options: Any) -> Any:
        return self.channel.unary_unary(SERVICE + method)(request.SerializeToString(), **options)

    async def refusal(self, request: Any, **options: Any) -> grpc.aio.AioRpcError:
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await self.call("ModelInfer", request, timeout=PATIENCE_S, **options)
        return refusal.value

    async def answered(self) -> None:
        """A good request gets its right answer."""
        raw = await self.call("ModelInfer", infer_request(), timeout=PATIENCE_S)
        assert labels(service_pb2.ModelInferResponse.FromString(raw)) == [15, 51]


def run(
    test: Callable[[GrpcScene], Awaitable[T]],
    tls: ServerTls | None = None,
    access: AccessLog | None = None,
    tracing: Tracing = NO_TRACING,
    **settings: Any,
) -> T:
    async def main() -> T:
        engine, counts = SumEngine(), Counts()
        endpoint = GrpcEndpoint(
            engine,
            ServerSettings.model_validate({"grpc_port": 0, "drain_s": 0, **settings}),
            counts,
            tls=tls,
            access=access,
            tracing=tracing,
        )
        port = await endpoint.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=OPTIONS) as channel:
            try:
                return await test(GrpcScene(engine, counts, endpoint, port, channel))
            finally:
                engine.gate.set()
                await endpoint.drain(1.0)

    return asyncio.run(main())


def infer_request(route: str = "sum", *, id: str = "", raw: bool = True, **changes: Any) -> Any:
    request = service_pb2.ModelInferRequest(model_name=route, id=id)
    tensor = request.inputs.add(name="image", datatype="UINT8", shape=PICTURES.shape)
    if raw:
        request.raw_input_contents.append(PICTURES.tobytes())
    else:
        tensor.contents.uint_contents.extend(PICTURES.ravel().tolist())
    for name, value in changes.items():
        setattr(request, name, value)
    return request


def labels(response: Any) -> list[int]:
    raw = response.raw_output_contents[[one.name for one in response.outputs].index("label")]
    return [int(label) for label in np.frombuffer(raw, np.int64)]
