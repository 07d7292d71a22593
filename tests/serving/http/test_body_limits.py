"""What one request may hold over HTTP: bodies by their route's shapes, queries, ids."""

from collections.abc import AsyncIterator

import httpx
import orjson
import pytest

from serving.engine.body_limits import FLOOR_BYTES
from serving.http.infer.json_large import LARGE_BYTES
from serving.http.routing import MAX_QUERY_BYTES, MAX_QUERY_FIELDS
from tests.serving.endpoint_client import BRIGHT, INFER, ask, make_png, visit
from tests.serving.small_engine import SmallEngine

PREDICT = "/v1/routes/small/predict"


def test_a_body_over_its_routes_limit_is_refused_by_what_it_declares() -> None:
    async def script(client: httpx.AsyncClient, engine: SmallEngine) -> None:
        read = 0

        async def pieces() -> AsyncIterator[bytes]:
            nonlocal read
            while True:
                read += 2**16
                yield bytes(2**16)

        declared = await client.post(
            INFER, content=b"", headers={"Content-Length": str(FLOOR_BYTES + 1)}
        )
        assert declared.status_code == 413
        assert f"{FLOOR_BYTES + 1} bytes" in declared.json()["error"]
        assert f"this route has {FLOOR_BYTES} at the most" in declared.json()["error"]
        arriving = await client.post(INFER, content=pieces())
        assert arriving.status_code == 413
        assert read <= FLOOR_BYTES + 2**17
        assert engine.requests == []

    visit(script)


def test_a_large_body_is_answered_as_a_small_one() -> None:
    async def script(client: httpx.AsyncClient, engine: SmallEngine) -> None:
        padded = BRIGHT.replace(b",204", b"," + b" " * (LARGE_BYTES // 4) + b"204")
        large = await client.post(INFER, content=padded)
        small = await client.post(INFER, content=BRIGHT)
        assert large.status_code == small.status_code == 200
        assert large.json()["outputs"] == small.json()["outputs"]
        late = padded.replace(b'{"inputs"', b'{"parameters":{"timeout_ms":60000},"inputs"')
        assert (await client.post(INFER, content=late)).status_code == 200
        assert engine.requests[-1].deadline is not None
        broken = await client.post(INFER, content=padded.replace(b"204]", b"256]"))
        assert broken.status_code == 400

    visit(script)


@pytest.mark.parametrize(
    "query", ["a&" * MAX_QUERY_FIELDS, "a" * (MAX_QUERY_BYTES + 1), "&".join(["a=1"] * 2000)]
)
def test_a_query_is_bounded_in_bytes_and_fields(query: str) -> None:
    answer = ask("POST", f"{PREDICT}?{query}", content=make_png())
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("query: given")


def test_a_query_within_its_bounds_is_answered() -> None:
    query = "&".join([f"a{place}=1" for place in range(MAX_QUERY_FIELDS - 1)])
    assert ask("POST", f"{PREDICT}?timeout_ms=60000&{query}", content=make_png()).status_code == 200


def test_an_id_is_bounded() -> None:
    table = orjson.loads(BRIGHT)
    assert ask("POST", INFER, json={**table, "id": "i" * 1024}).json()["id"] == "i" * 1024
    answer = ask("POST", INFER, json={**table, "id": "i" * 1025})
    assert answer.status_code == 400
    assert "id: given 1025" in answer.json()["error"]
