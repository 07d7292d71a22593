"""The OpenAPI document says what the endpoint does."""

import asyncio
from typing import Any

import httpx
import jsonschema
import orjson

from monitoring.metrics.collector import Metrics
from serving.http.asgi import AsgiApplication
from serving.http.endpoint import HttpEndpoint
from serving.http.openapi.document import make_document
from serving.http.routing import FIXED, parse_path
from serving.settings import ServerSettings
from tests.serving.endpoint_client import BRIGHT, make_png
from tests.serving.small_engine import SmallEngine, make_manifest

DOCUMENT = make_document("1.2.3")
CHAT = "/v1/chat/completions"  # tests/serving/http/chat/ has its answers


def fill(path: str) -> str:
    return path.replace("{route}", "small").replace("{version}", "1")


def schema_of(operation: dict[str, Any], status: str) -> dict[str, Any]:
    schema = operation["responses"][status]["content"]["application/json"]["schema"]
    return {**schema, "components": DOCUMENT["components"]}


def test_every_path_of_the_document_is_an_endpoint_and_the_other_way_round() -> None:
    assert all(parse_path(fill(path)) is not None for path in DOCUMENT["paths"])
    assert set(FIXED) <= set(DOCUMENT["paths"])
    families = [path for path in DOCUMENT["paths"] if "{" in path]
    assert len({place.endpoint for path in families if (place := parse_path(fill(path)))}) == 6


def test_answers_and_refusals_have_the_documents_shape() -> None:
    async def run() -> None:
        endpoint = HttpEndpoint(SmallEngine(), ServerSettings(), Metrics())
        transport = httpx.ASGITransport(AsgiApplication(endpoint))
        async with httpx.AsyncClient(transport=transport, base_url="http://endpoint") as client:
            for path, methods in DOCUMENT["paths"].items():
                for method in ("get", "post"):
                    if path == CHAT:
                        continue
                    body = make_png() if path.startswith("/v1") else BRIGHT
                    content = body if method == "post" else None
                    answer = await client.request(method, fill(path), content=content)
                    if method not in methods:
                        assert answer.status_code == 405
                        continue
                    assert answer.status_code == 200
                    if path != "/metrics":
                        jsonschema.validate(answer.json(), schema_of(methods[method], "200"))
                    if method == "post":
                        refused = await client.post(fill(path), content=b"{}")
                        schema = schema_of(methods[method], str(refused.status_code))
                        jsonschema.validate(refused.json(), schema)

    asyncio.run(run())


def test_the_requests_of_the_tests_have_the_documents_shape() -> None:
    infer = DOCUMENT["paths"]["/v2/models/{route}/infer"]["post"]
    schema = infer["requestBody"]["content"]["application/json"]["schema"]
    jsonschema.validate(orjson.loads(BRIGHT), {**schema, "components": DOCUMENT["components"]})


def test_every_operation_has_examples_that_fit_its_schemas() -> None:
    found = 0
    for item in DOCUMENT["paths"].values():
        for operation in (item[method] for method in ("get", "post") if method in item):
            bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
            for body in bodies:
                content = body.get("content", {}).get("application/json")
                if content is not None:
                    schema = {**content["schema"], "components": DOCUMENT["components"]}
                    jsonschema.validate(content["example"], schema)
                    found += 1
    assert found > 40


def test_the_document_names_the_token_and_a_served_route() -> None:
    assert DOCUMENT["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    assert DOCUMENT["paths"]["/livez"]["get"]["security"] == []
    document = make_document("1.2.3", [make_manifest()])
    (parameter,) = document["paths"]["/v2/models/{route}/infer"]["parameters"]
    assert parameter["example"] == "small"


def test_every_reference_leads_somewhere() -> None:
    text = orjson.dumps(DOCUMENT).decode()
    for name in {piece.split('"')[0] for piece in text.split("#/components/schemas/")[1:]}:
        assert name in DOCUMENT["components"]["schemas"]
