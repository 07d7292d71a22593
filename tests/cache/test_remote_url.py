"""The second tier's URL: passwords are used and never told, and what is no URL is refused."""

import pytest
import redis

from cache.remote_cache import FAILURES, RemoteCache
from harness.services.redis_server import RedisServer
from tests.cache.second_tier import SECRET, make_key, make_outcome, read, recall, store, with_memory


def test_a_wrong_password_is_a_miss_and_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    async def use(memory: RemoteCache) -> None:
        for _ in range(FAILURES):
            assert await recall(memory, [make_key(1)]) == [None]
        assert memory.counts().errors == {"connection": FAILURES}

    with RedisServer("--requirepass", "right-word") as own:
        with_memory(use, f"redis://:wrong-word@127.0.0.1:{own.port}")
    assert "AuthenticationError" in caplog.text
    assert "wrong-word" not in caplog.text


def test_a_password_and_a_database_in_the_url_are_used() -> None:
    async def use(memory: RemoteCache) -> None:
        await store(memory, [(make_key(1), make_outcome(1))])
        assert read((await recall(memory, [make_key(1)]))[0]) == 1
        assert memory.counts().errors.get("connection", 0) == 0

    with RedisServer("--requirepass", "right:word") as own:
        with_memory(use, f"redis://default:right%3Aword@127.0.0.1:{own.port}/3")


def test_another_password_is_used_from_the_next_exchange_on() -> None:
    with RedisServer("--requirepass", "first") as own:

        async def use(memory: RemoteCache) -> None:
            await store(memory, [(make_key(1), make_outcome(1))])
            with redis.Redis(port=own.port, password="first") as client:
                client.config_set("requirepass", "second")
                client.client_kill_filter(_type="normal", skipme=True)
            memory.change_address(url, "second")
            assert read((await recall(memory, [make_key(1)]))[0]) == 1
            await store(memory, [(make_key(2), make_outcome(2))])
            assert read((await recall(memory, [make_key(2)]))[0]) == 2
            assert memory.counts().errors == {}

        url = f"redis://127.0.0.1:{own.port}"
        with_memory(use, url, password="first")


def test_a_connection_that_is_being_opened_is_replaced_too() -> None:
    with RedisServer("--requirepass", "right") as own:

        async def use(memory: RemoteCache) -> None:
            memory.connect()
            memory.change_address(url, "right")
            await store(memory, [(make_key(1), make_outcome(1))])
            assert read((await recall(memory, [make_key(1)]))[0]) == 1

        url = f"redis://127.0.0.1:{own.port}"
        with_memory(use, url, password="wrong")


def test_a_password_is_given_once() -> None:
    with pytest.raises(ValueError, match="allowed one"):
        RemoteCache("redis://:one@host", SECRET, password="two")


@pytest.mark.parametrize(
    "url",
    [
        "http://host",
        "host:6379",
        "",
        "redis://user:geheim/wort@host:6379",
        "redis://host?decode_responses=true",
        "redis://host?socket_timeout=geheim",
        "redis://host?ssl_ca_certs=/geheim.pem",
        "rediss://host?ssl_cacerts=/geheim.pem",
        "rediss://host?ssl_ca_certs=/geheim.pem",
        "rediss://host?ssl_cert_reqs=geheim",
    ],
)
def test_a_url_that_is_none_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ValueError, match="URL") as caught:
        RemoteCache(url, SECRET)
    assert "geheim" not in str(caught.value)
    assert caught.value.__cause__ is None
