"""A client of an endpoint with a real engine behind it, for tests of explanations."""

import asyncio
from collections.abc import Awaitable, Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import numpy as np
import numpy.typing as npt
import orjson
from PIL import Image

from cache.local_cache import LocalCache
from core.devices.onnx import OnnxDevice
from monitoring.access_log import AccessLog
from monitoring.metrics.collector import Metrics
from monitoring.tracing.sampling import NO_TRACING, Tracing
from routes.loading import LoadedRoute, load_route
from serving.engine.catalog import Catalog, ServedRoute
from serving.engine.engine import Engine
from serving.http.asgi import AsgiApplication
from serving.http.endpoint import HttpEndpoint
from serving.http.openapi.document import make_document
from serving.settings import EngineSettings, ServerSettings

Bytes = npt.NDArray[np.uint8]
DOCUMENT = make_document("1")
TOY = "/v1/routes/toy/explain"
TINY = "/v1/routes/tiny/explain"
PNG = {"Accept": "image/png"}


class Scene:
    """A client, and the engine behind the endpoint that it asks."""

    def __init__(self, client: httpx.AsyncClient, engine: Engine, metrics: Metrics) -> None:
        self.client = client
        self.engine = engine
        self.metrics = metrics

    def count(self, route: str) -> dict[str, int]:
        """The route's requests by result."""
        return {name: count for name, count in self.metrics.request_results(route).items() if count}

    async def explain(self, path: str, **options: Any) -> dict[str, Any]:
        """A successful explanation, in the document's shape."""
        reply = await self.client.post(path, **options)
        assert reply.status_code == 200, reply.text
        facts: dict[str, Any] = reply.json()
        check_shape(facts, "Explanation")
        return facts


def check_shape(facts: dict[str, Any], schema: str) -> None:
    reference = {"$ref": f"#/components/schemas/{schema}", "components": DOCUMENT["components"]}
    jsonschema.validate(facts, reference)


def play(
    script: Callable[[Scene], Awaitable[None]],
    *routes: ServedRoute | LoadedRoute,
    tracing: Tracing = NO_TRACING,
    metrics: Metrics | None = None,
    settings: EngineSettings = EngineSettings(),  # noqa: B008
    access: AccessLog | None = None,
    **server: Any,
) -> None:
    async def main() -> None:
        counts = metrics or Metrics()
        served = [serve(one, counts) if isinstance(one, LoadedRoute) else one for one in routes]
        engine = Engine(Catalog(served), settings, LocalCache(1 << 20), OnnxDevice())
        endpoint = HttpEndpoint(engine, ServerSettings(**server), counts, tracing, access=access)
        transport = httpx.ASGITransport(AsgiApplication(endpoint))
        try:
            async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
                await script(Scene(client, engine, counts))
            assert not any(engine.schedulers.of(one.entry).traced for one in served)
        finally:
            endpoint.close()
            engine.close()

    asyncio.run(main())


def serve(route: LoadedRoute, metrics: Metrics) -> ServedRoute:
    stages = [stage.name for stage in route.manifest.stages]
    counts = metrics.add_route(route.manifest.route, stages)
    return ServedRoute(route.manifest, route.pipeline, counts)


def load(make: Callable[[Path], Path], root: Path) -> LoadedRoute:
    return load_route(make(root), OnnxDevice())


def encode(picture: Bytes) -> bytes:
    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def write_json(picture: Bytes, **parameters: Any) -> bytes:
    tensor = {"name": "image", "datatype": "UINT8", "shape": [1, 28, 28]}
    data = picture.ravel().tolist()
    return orjson.dumps({"inputs": [{**tensor, "data": data}], "parameters": parameters})


def write_binary(picture: Bytes, **parameters: Any) -> dict[str, Any]:
    size = {"binary_data_size": picture.nbytes}
    tensor = {"name": "image", "datatype": "UINT8", "shape": [1, 28, 28], "parameters": size}
    header = orjson.dumps({"inputs": [tensor], "parameters": parameters})
    headers = {"Inference-Header-Content-Length": str(len(header))}
    return {"content": header + picture.tobytes(), "headers": headers}


def toy(*values: float, **parameters: Any) -> bytes:
    tensor = {"name": "x", "datatype": "FP64", "shape": [len(values)], "data": values}
    return orjson.dumps({"inputs": [tensor], "parameters": parameters})
