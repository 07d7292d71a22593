"""The second tier against a real Redis: what it keeps and refuses, and how it bears trouble."""

import asyncio
import gc
import logging

import numpy as np
import pytest

from cache.encoding import Encoding
from cache.remote_cache import FAILURES, MAX_KEYS, MAX_PENDING_BYTES, RETRY_S, RemoteCache
from core.messages import Outcome
from harness.servers import find_free_port
from harness.services.redis_server import RedisServer
from harness.services.slow_proxy import SlowProxy
from harness.waiting import until
from tests.cache.second_tier import (
    LONG_S,
    SECRET,
    make_key,
    make_outcome,
    read,
    recall,
    store,
    with_memory,
)
from tests.fakes.clock import Clock


def count_hits(server: RedisServer) -> int:
    """Look-ups that Redis has answered, whether or not the reply has arrived."""
    with server.client() as client:
        hits: int = client.info("stats")["keyspace_hits"]
    return hits


def test_what_was_stored_is_recalled_in_order_and_the_rest_is_none(server: RedisServer) -> None:
    async def use(memory: RemoteCache) -> None:
        items = [(make_key(index), make_outcome(index)) for index in range(2 * MAX_KEYS + 2)]
        await store(memory, items)
        asked = [*range(2 * MAX_KEYS, -1, -1), 999]
        found = await recall(memory, [make_key(index) for index in asked])
        assert [read(one) for one in found] == [*range(2 * MAX_KEYS, -1, -1), None]

    with_memory(use, server.url)


def test_connections_are_open_before_the_first_look_up(server: RedisServer) -> None:
    with server.client() as client:
        before = len(client.client_list())

        async def use(memory: RemoteCache) -> None:
            memory.connect()
            wanted = before + memory.max_concurrent_lookups + 1
            await until(lambda: len(client.client_list()) == wanted)
            await recall(memory, [make_key(1)])
            assert len(client.client_list()) == wanted

        with_memory(use, server.url)


def test_connecting_to_nobody_is_noticed_when_somebody_asks() -> None:
    async def use(memory: RemoteCache) -> None:
        before = asyncio.all_tasks()
        memory.connect()
        await asyncio.wait(asyncio.all_tasks() - before)
        assert memory.counts().errors == {}
        assert await recall(memory, [make_key(1)]) == [None]
        assert memory.counts().errors == {"connection": 1}

    with_memory(use, f"redis://127.0.0.1:{find_free_port()}")


def test_another_process_with_the_secret_recalls_it_and_one_without_does_not(
    server: RedisServer,
) -> None:
    async def use(memory: RemoteCache) -> None:
        await store(memory, [(make_key(1), make_outcome(1))])
        other = RemoteCache(server.url, SECRET, timeout_s=LONG_S)
        stranger = RemoteCache(server.url, b"t" * 32, timeout_s=LONG_S)
        assert read((await recall(other, [make_key(1)]))[0]) == 1
        assert await recall(stranger, [make_key(1)]) == [None]
        assert stranger.counts().errors == {"invalid": 1}
        await other.close()
        await stranger.close()

    with_memory(use, server.url)


def test_an_answer_leaves_redis_when_its_time_is_up(server: RedisServer) -> None:
    async def use(memory: RemoteCache) -> None:
        await store(memory, [(make_key(1), make_outcome(1))], ttl_s=123.0)
        memory.put(make_key(2), make_outcome(2), 456.0)
        await until(lambda: memory.counts().stores == 2)

    with_memory(use, server.url, prefix="mine:")
    with server.client() as client:
        lives_ms = [client.pttl(b"mine:2:" + make_key(index)) for index in (1, 2)]
    assert 100_000 < lives_ms[0] <= 123_000
    assert 400_000 < lives_ms[1] <= 456_000


def test_an_answer_older_than_its_time_is_a_miss_even_if_redis_still_has_it(
    server: RedisServer,
) -> None:
    wall = Clock()

    async def use(memory: RemoteCache) -> None:
        await store(memory, [(make_key(1), make_outcome(1))])
        wall.now_s += 9.0
        found = await memory.look_up([make_key(1)])
        assert found is not None and found[0] is not None
        assert found[0].left_s == 1.0
        wall.now_s += 1.0
        assert await recall(memory, [make_key(1)]) == [None]
        assert memory.counts().errors == {}

    with_memory(use, server.url, ttl_s=10.0, wall_clock=wall)


def test_garbage_under_our_keys_is_a_miss_and_a_count(server: RedisServer) -> None:
    async def use(memory: RemoteCache) -> None:
        await store(memory, [(make_key(index), make_outcome(index)) for index in range(4)])
        with server.client() as client:
            names = [b"sparing:2:" + make_key(index) for index in range(4)]
            client.set(names[0], b"garbage")
            client.set(names[1], (client.get(names[1]) or b"")[:-1])
            client.set(names[2], client.get(names[3]) or b"")  # another key's answer
        found = await recall(memory, [make_key(index) for index in range(4)])
        assert [read(one) for one in found] == [None, None, None, 3]
        counts = memory.counts()
        assert (counts.hits, counts.misses, counts.errors) == (1, 3, {"invalid": 3})

    with_memory(use, server.url)


def test_a_late_reply_never_answers_a_later_question(server: RedisServer) -> None:
    async def use(memory: RemoteCache) -> None:
        await store(memory, [(make_key(index), make_outcome(index)) for index in range(20)])
        assert read((await recall(memory, [make_key(0)]))[0]) == 0
        for index in range(1, 20):
            proxy.delay_s = 0.5
            assert await memory.look_up([make_key(index)], 0.01) is None
            proxy.delay_s = 0.0
            await recall(memory, [make_key(0)])  # closes the breaker's count of failures again
            assert read((await recall(memory, [make_key(index)]))[0]) == index
        assert memory.counts().errors == {"timeout": 19}

    with SlowProxy(server.port) as proxy:
        with_memory(use, f"redis://127.0.0.1:{proxy.port}", max_connections=2)


def test_a_cancelled_look_up_leaves_no_reply_behind(server: RedisServer) -> None:
    async def use(memory: RemoteCache) -> None:
        await store(memory, [(make_key(index), make_outcome(index)) for index in range(2)])
        await recall(memory, [make_key(0)])
        proxy.delay_s = 2.0
        before = count_hits(server)
        asking = asyncio.create_task(recall(memory, [make_key(0)]))
        await until(lambda: count_hits(server) > before)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        proxy.delay_s = 0.0
        assert read((await recall(memory, [make_key(1)]))[0]) == 1

    with SlowProxy(server.port) as proxy:
        with_memory(use, f"redis://127.0.0.1:{proxy.port}", max_connections=2)


def test_a_connection_that_fails_after_its_caller_has_left_is_no_trouble_of_the_log() -> None:
    left = asyncio.Event()

    async def say_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await left.wait()
        writer.close()

    async def use(memory: RemoteCache) -> None:
        before = asyncio.all_tasks()
        told: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        async with await asyncio.start_server(say_nothing, "127.0.0.1", port):
            assert await recall(memory, [make_key(0)]) == [None]
            left.set()
            await asyncio.wait(asyncio.all_tasks() - before)
        await memory.close()
        gc.collect()
        await asyncio.sleep(0)
        assert told == []

    port = find_free_port()
    with_memory(use, f"redis://:word@127.0.0.1:{port}", timeout_s=0.01)


def test_three_timeouts_open_the_breaker_and_one_good_look_up_closes_it() -> None:
    clock = Clock()

    async def use(memory: RemoteCache) -> None:
        await store(memory, [(make_key(1), make_outcome(1))])
        own.pause()
        for _ in range(FAILURES):
            assert await memory.look_up([make_key(1)], 0.02) is None
        assert memory.lookup_state() == "open"
        assert await recall(memory, [make_key(1), make_key(2)]) == [None, None]
        assert memory.counts().errors == {"timeout": FAILURES, "dropped": 2}
        own.resume()
        assert memory.lookup_state() == "open"
        clock.now_s += RETRY_S
        assert memory.lookup_state() == "half-open"
        assert read((await recall(memory, [make_key(1)]))[0]) == 1
        assert memory.lookup_state() == "closed"

    with RedisServer() as own:
        with_memory(use, own.url, clock=clock)


def test_a_killed_redis_is_a_miss_and_a_restarted_one_is_used_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Clock()
    caplog.set_level(logging.INFO, "sparing.cache")

    async def use(memory: RemoteCache) -> None:
        await store(memory, [(make_key(1), make_outcome(1))])
        await recall(memory, [make_key(1)])
        own.kill()
        for _ in range(FAILURES):
            assert await recall(memory, [make_key(1)]) == [None]
            await store(memory, [(make_key(2), make_outcome(2))])
        counts = memory.counts()
        assert (counts.lookup_state, counts.store_state) == ("open", "open")
        assert counts.errors == {"connection": 2 * FAILURES}
        own.start()
        clock.now_s += RETRY_S
        await store(memory, [(make_key(3), make_outcome(3))])
        found = await recall(memory, [make_key(1), make_key(3)])
        assert [read(one) for one in found] == [None, 3]
        counts = memory.counts()
        assert (counts.lookup_state, counts.store_state) == ("closed", "closed")

    with RedisServer() as own:
        with_memory(use, own.url, clock=clock)
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2 + ["INFO"] * 2


def test_a_full_redis_refuses_stores_and_still_answers() -> None:
    async def use(memory: RemoteCache) -> None:
        await store(memory, [(make_key(1), make_outcome(1))])
        with own.client() as client:
            client.config_set("maxmemory", "1")
        for _ in range(FAILURES):
            await store(memory, [(make_key(2), make_outcome(2))])
        counts = memory.counts()
        assert (counts.lookup_state, counts.store_state) == ("closed", "open")
        assert counts.errors == {"refused": FAILURES}
        memory.put(make_key(3), make_outcome(3))
        assert memory.counts().errors["dropped"] == 1
        found = await recall(memory, [make_key(1), make_key(2)])
        assert [read(one) for one in found] == [1, None]

    with RedisServer("--maxmemory-policy", "noeviction") as own:
        with_memory(use, own.url)


def test_stores_that_wait_are_bounded_and_those_beyond_are_counted(server: RedisServer) -> None:
    size = 4000
    value = Encoding(SECRET).encode(make_key(0), make_outcome(0, size), 0.0)
    fitting = -(-MAX_PENDING_BYTES // len(value))

    async def use(memory: RemoteCache) -> None:
        for index in range(fitting + 5):
            memory.put(make_key(index), make_outcome(index, size))
        assert memory.counts().pending_bytes < MAX_PENDING_BYTES + 9 * size
        assert memory.counts().errors == {"dropped": 5}
        await until(lambda: memory.counts().stores == fitting)
        assert memory.counts().pending_bytes == 0

    with_memory(use, server.url)


def test_what_is_put_in_one_turn_of_the_loop_travels_together(server: RedisServer) -> None:
    async def use(memory: RemoteCache) -> None:
        for index in range(MAX_KEYS):
            memory.put(make_key(index), make_outcome(index))
        await until(lambda: memory.counts().stores == MAX_KEYS)

    with server.client() as client:
        before = client.info("stats")["total_reads_processed"]
        with_memory(use, server.url)
        assert client.info("stats")["total_reads_processed"] - before <= 3
    assert len(server.keys()) == MAX_KEYS


def test_text_is_not_stored_and_counted(server: RedisServer) -> None:
    async def use(memory: RemoteCache) -> None:
        text = Outcome({"text": np.array([b"a"], dtype=object)}, 0.5, "light")
        await store(memory, [(make_key(1), text), (make_key(2), make_outcome(2))])
        memory.put(make_key(3), text)
        assert memory.counts().errors["unstorable"] == 2
        assert memory.counts().stores == 1

    with_memory(use, server.url)
