"""A Redis for the tests of the second tier, empty for each."""

from collections.abc import Iterator

import pytest

from harness.services.redis_server import RedisServer


@pytest.fixture(scope="module")
def shared() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def server(shared: RedisServer) -> RedisServer:
    with shared.client() as client:
        client.flushall()
    return shared
