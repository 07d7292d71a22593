"""The perceptual cache over HTTP and gRPC: marked where it answers, absent elsewhere."""

import asyncio
import io
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from PIL import Image

from harness.live_server import LiveServer
from harness.tiny_routes import make_pictures, write_route
from serving.assembly import StartupError, assemble
from serving.settings import Settings

Bytes = npt.NDArray[np.uint8]
SETTINGS = """
[cache.perceptual.routes.tiny]
least_confidence = 0.0
audit_burn_in = 0
audit_rate = 1e-9
[cache.perceptual.routes.loose]
max_distance = 8
max_difference = 32
least_confidence = 0.0
"""
FACTS = ["label", "exit", "stopped_by", "cached", "macs"]
SEEDS = iter(range(100, 10_000))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    models = tmp_path_factory.mktemp("models")
    write_route(models, "tiny")
    write_route(models, "plain", seed=1)
    write_route(models, "loose", seed=2)
    with LiveServer(models, SETTINGS) as live:
        yield live


def make_two() -> tuple[Bytes, Bytes]:
    """A new picture and one that looks like it."""
    (picture,) = make_pictures(1, next(SEEDS))
    other = picture.copy()
    other[14, 10:14] ^= 3
    return picture, other


def encode(picture: Bytes) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


class Http:
    """A stock client's answers: the facts as lists, and the response's parameters."""

    def __init__(self, server: LiveServer, binary: bool) -> None:
        self._client = triton_http.InferenceServerClient(f"127.0.0.1:{server.http_port}")
        self._binary = binary

    def infer(self, *pictures: Bytes, route: str = "tiny", **fields: Any) -> dict[str, Any]:
        given = triton_http.InferInput("image", [len(pictures), 28, 28], "UINT8")
        given.set_data_from_numpy(np.stack(pictures), binary_data=self._binary)
        wanted = [triton_http.InferRequestedOutput(one, binary_data=self._binary) for one in FACTS]
        result = self._client.infer(route, [given], outputs=wanted, **fields)
        facts = {name: _plain(result.as_numpy(name)) for name in FACTS}
        return facts | {"similar": result.get_response()["parameters"].get("similar")}

    def close(self) -> None:
        self._client.close()


class Grpc:
    """The same over gRPC."""

    def __init__(self, server: LiveServer) -> None:
        self._client = triton_grpc.InferenceServerClient(server.grpc_address)

    def infer(self, *pictures: Bytes, route: str = "tiny", **fields: Any) -> dict[str, Any]:
        given = triton_grpc.InferInput("image", [len(pictures), 28, 28], "UINT8")
        given.set_data_from_numpy(np.stack(pictures))
        wanted = [triton_grpc.InferRequestedOutput(one) for one in FACTS]
        result = self._client.infer(route, [given], outputs=wanted, **fields)
        parameters = result.get_response().parameters
        facts = {name: _plain(result.as_numpy(name)) for name in FACTS}
        similar = parameters["similar"].string_param if "similar" in parameters else None
        return facts | {"similar": similar}

    def close(self) -> None:
        self._client.close()


def _plain(array: Any) -> list[Any]:
    return [one.decode() if isinstance(one, bytes) else one for one in array.tolist()]


@pytest.fixture(params=["http", "http, binary", "grpc"])
def endpoint(request: pytest.FixtureRequest, server: LiveServer) -> Iterator[Http | Grpc]:
    kind = request.param
    client = Grpc(server) if kind == "grpc" else Http(server, binary="binary" in kind)
    yield client
    client.close()


def test_a_picture_that_looks_alike_is_answered_from_the_cache_and_marked(
    endpoint: Http | Grpc,
) -> None:
    picture, other = make_two()
    computed = endpoint.infer(picture)
    assert computed["cached"] == [False]
    assert computed["similar"] is None
    shared = endpoint.infer(other)
    assert shared == {
        "label": computed["label"],
        "exit": computed["exit"],
        "stopped_by": ["cache"],
        "cached": [True],
        "macs": [0],
        "similar": "0",
    }


def test_the_parameter_says_which_rows_are_anothers(endpoint: Http | Grpc) -> None:
    (first, like_first), (second, like_second), (third, _) = make_two(), make_two(), make_two()
    endpoint.infer(first, second)
    mixed = endpoint.infer(like_first, third, like_second, first)
    assert mixed["similar"] == "0,2"
    assert mixed["stopped_by"][0] == mixed["stopped_by"][2] == mixed["stopped_by"][3] == "cache"
    assert mixed["cached"] == [True, False, True, True]


def test_marks_come_and_go_with_the_answers_of_one_connection(endpoint: Http | Grpc) -> None:
    """The endpoints remember headers; a mark must not be remembered with them."""
    for _ in range(3):
        picture, other = make_two()
        marks = [endpoint.infer(one)["similar"] for one in (picture, other, picture, other)]
        assert marks == [None, "0", None, "0"]


def test_a_route_that_is_not_opted_in_computes_every_picture(endpoint: Http | Grpc) -> None:
    picture, other = make_two()
    for one in (picture, other):
        facts = endpoint.infer(one, route="plain")
        assert (facts["cached"], facts["similar"]) == ([False], None)


def test_no_cache_is_computed(endpoint: Http | Grpc) -> None:
    picture, other = make_two()
    endpoint.infer(picture)
    facts = endpoint.infer(other, parameters={"no_cache": True})
    assert (facts["cached"], facts["similar"]) == ([False], None)


def predict(server: LiveServer, picture: Bytes, route: str = "tiny") -> dict[str, Any]:
    url = f"{server.url}/v1/routes/{route}/predict"
    request = urllib.request.Request(url, encode(picture), {"content-type": "image/png"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        facts: dict[str, Any] = json.loads(answer.read())
    return facts


def test_the_picture_endpoint_says_similar_beside_the_answer(server: LiveServer) -> None:
    picture, other = make_two()
    computed, shared = predict(server, picture), predict(server, other)
    assert "similar" not in computed and "similar" not in computed["answers"][0]
    (answer,) = shared["answers"]
    assert (answer["similar"], answer["stopped_by"], answer["cached"]) == (True, "cache", True)
    assert answer["exit"] == computed["answers"][0]["exit"]
    assert answer["probabilities"] == computed["answers"][0]["probabilities"]
    assert shared["similar"] == "0"


def test_metrics_and_the_routes_page_tell_of_opted_in_routes_only(server: LiveServer) -> None:
    def read(name: str) -> float:
        return server.metric(f"sparing_cache_perceptual_{name}", route="tiny")

    names = ("hits_total", "misses_total", "guarded_total", "audits_total", "wrong_total")
    before = {name: read(name) for name in names}
    remembered = server.metric("sparing_rows_total", route="tiny", stopped_by="cache")
    picture, other = make_two()
    predict(server, picture)
    predict(server, other)
    predict(server, np.full((28, 28), int(before["guarded_total"]) + 1, np.uint8))
    gained = {name: read(name) - before[name] for name in names}
    assert gained == {
        "hits_total": 1, "misses_total": 1, "guarded_total": 1, "audits_total": 0, "wrong_total": 0,
    }  # fmt: skip
    after = server.metric("sparing_rows_total", route="tiny", stopped_by="cache")
    assert after - remembered == 1
    assert (read("off"), read("entries") > 0, read("bytes") > 0) == (0, True, True)
    assert (
        'sparing_cache_perceptual_hits_total{route="plain"}' not in server.get("/metrics").decode()
    )
    listed = json.loads(server.get("/v1/routes"))["routes"]
    pages = {route["route"]: route["cache"]["perceptual"] for route in listed}
    assert pages["plain"] is None
    assert pages["tiny"]["on"] is True
    assert pages["tiny"]["audits"] == 0
    assert pages["tiny"]["least_confidence"] == 0.0


def test_a_tier_that_is_too_loose_is_switched_off_and_says_so(server: LiveServer) -> None:
    client = Http(server, binary=True)
    rng = np.random.default_rng(0)

    def read(name: str) -> float:
        return server.metric(f"sparing_cache_perceptual_{name}", route="loose")

    while not read("off"):
        pictures = make_pictures(32, next(SEEDS)) // 2 + 40
        client.infer(*pictures, route="loose")
        others = pictures + rng.integers(0, 48, pictures.shape, dtype=np.uint8)
        client.infer(*others, route="loose")
        assert read("hits_total") + read("audits_total") <= 2000
    audits, wrong = read("audits_total"), read("wrong_total")
    assert wrong / audits > 0.001
    assert read("entries") == 0
    sentence = "perceptual cache of route loose version 1 is off for caller 'address 127.0.0.1'"
    assert server.log.read_text().count(sentence) == 1
    facts = client.infer(*pictures[:, ::-1].copy(), route="loose")
    again = client.infer(*pictures[:, ::-1] + np.uint8(1), route="loose")
    assert not any([*facts["cached"], *again["cached"]])
    client.close()


def refuse_pictures(table: dict[str, Any]) -> None:
    del table["picture"]


def make_settings(models: Path) -> Settings:
    return Settings.model_validate(
        {
            "server": {"grpc_port": 0},
            "routes": {"directories": [models]},
            "cache": {"perceptual": {"routes": {"blind": {}}}},
        }
    )


async def list_served(settings: Settings) -> str:
    async with assemble(settings) as assembly:
        routes = assembly.list_routes()
        assert await assembly.end_drain()
    return routes


def test_a_route_that_takes_no_picture_is_refused_with_one_sentence_and_others_serve(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_route(tmp_path, "blind", change=refuse_pictures)
    with pytest.raises(StartupError):
        asyncio.run(list_served(make_settings(tmp_path)))
    write_route(tmp_path, "tiny")
    assert asyncio.run(list_served(make_settings(tmp_path))) == "tiny v1"
    sentence = (
        "route refused: cache.perceptual.routes.blind: allowed is one UINT8 picture, grey or of"
        " three colours, as input"
    )
    assert caplog.text.count(sentence) == 2
