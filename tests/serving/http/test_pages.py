"""What the HTTP endpoint tells: health, what is served, metrics."""

import asyncio

import httpx
import pytest

from monitoring.metrics.collector import Metrics
from serving.http.asgi import AsgiApplication
from serving.http.endpoint import HttpEndpoint
from serving.settings import ServerSettings
from tests.serving.endpoint_client import BRIGHT, INFER, ask, visit
from tests.serving.small_engine import SmallEngine


def test_what_is_served_is_told() -> None:
    async def script(client: httpx.AsyncClient, _engine: SmallEngine) -> None:
        assert (await client.get("/v2")).json()["extensions"] == [
            "binary_tensor_data",
            "statistics",
            "model_repository",
        ]
        model = (await client.get("/v2/models/small")).json()
        assert (model["name"], model["versions"], model["platform"]) == (
            "small",
            ["2", "1"],
            "shade",
        )
        assert model["inputs"] == [{"name": "image", "datatype": "UINT8", "shape": [-1, 2, 3]}]
        newest, oldest = (await client.get("/v1/routes")).json()["routes"]
        assert (newest["version"], oldest["version"]) == ("2", "1")
        assert newest["stages"][0]["name"] == "shade"
        assert list(newest["profile"]) == ["shade"]
        figures = {"waiting_rows", "max_batch", "one_row_ms", "full_batch_ms"}
        assert set(newest["profile"]["shade"]) == figures
        assert newest["profile"]["shade"]["waiting_rows"] == 0
        assert (await client.get("/openapi.json")).json()["openapi"] == "3.1.0"
        assert (await client.get("/metrics")).headers["content-type"].startswith("text/plain")

    visit(script)


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/v2/health/live", "/v2/health/ready"])
def test_health_needs_no_token_and_everything_else_does(path: str) -> None:
    limits = {"bearer_token": "s3cret"}
    assert ask("GET", path, limits=limits).status_code == 200
    for header in ("", "Bearer", "Bearer wrong", "s3cret", "Basic s3cret", "Bearer s3crets"):
        answer = ask(
            "POST", INFER, content=BRIGHT, headers={"Authorization": header}, limits=limits
        )
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
    assert ask("GET", "/v2/models/other", limits=limits).status_code == 401
    right = {"Authorization": "bearer s3cret"}
    assert ask("POST", INFER, content=BRIGHT, headers=right, limits=limits).status_code == 200


def test_a_draining_server_answers_says_it_is_not_ready_and_closes() -> None:
    for path in ("/readyz", "/v2/health/ready", "/v2/models/small/ready"):
        assert ask("GET", path).json()["ready"] is True
        answer = ask("GET", path, draining=True)
        assert (answer.status_code, answer.json()["ready"]) == (503, False)
    answer = ask("POST", INFER, content=BRIGHT, draining=True)
    assert (answer.status_code, answer.headers["connection"]) == (200, "close")
    assert "connection" not in ask("POST", INFER, content=BRIGHT).headers
    assert ask("GET", "/livez", draining=True).status_code == 200


def test_results_are_counted_by_route_and_error() -> None:
    async def run() -> None:
        metrics = Metrics()
        metrics.add_route("small", ["shade"])
        endpoint = HttpEndpoint(SmallEngine(), ServerSettings(), metrics)
        transport = httpx.ASGITransport(AsgiApplication(endpoint))
        async with httpx.AsyncClient(transport=transport, base_url="http://endpoint") as client:
            await client.post(INFER, content=BRIGHT)
            await client.post(INFER, content=b"{}")
            text = (await client.get("/metrics")).text
        assert 'sparing_requests_total{result="ok",route="small"} 1.0' in text
        assert 'sparing_requests_total{result="InvalidInput",route="small"} 1.0' in text

    asyncio.run(run())
