"""A Redis that fails while a sentinel watches: its replica is used, and nothing raises."""

from cache.remote_cache import RemoteCache
from harness.services.redis_sentinel import ReplicatedRedis
from harness.waiting import until
from tests.cache.second_tier import make_key, make_outcome, read, recall, store, with_memory


def test_the_promoted_replica_answers_and_stores() -> None:
    with ReplicatedRedis() as redis:

        async def use(memory: RemoteCache) -> None:
            await store(memory, [(make_key(1), make_outcome(1))])
            await until(lambda: bool(redis.second.keys()), "the answer is not replicated")
            redis.first.kill()
            await until(redis.has_failed_over, "the sentinel does not promote the replica")

            async def is_back() -> bool:
                found = await recall(memory, [make_key(1)])
                assert len(found) == 1
                return found[0] is not None and read(found[0]) == 1

            await until(is_back, "the replica is not used")
            before = memory.counts().stores

            async def is_stored() -> bool:
                memory.put(make_key(2), make_outcome(2))
                return memory.counts().stores > before

            await until(is_stored, "nothing is stored after the failover")
            assert read((await recall(memory, [make_key(2)]))[0]) == 2

        with_memory(use, redis.url)


def test_a_master_that_was_demoted_without_failing_is_left() -> None:
    with ReplicatedRedis() as redis:

        async def use(memory: RemoteCache) -> None:
            await store(memory, [(make_key(1), make_outcome(1))])
            await until(lambda: bool(redis.second.keys()), "the answer is not replicated")
            with redis.sentinel.client() as client:
                client.sentinel_failover("main")
            await until(redis.has_failed_over, "the sentinel does not promote the replica")
            with redis.first.client() as client:  # as the sentinel does some seconds later
                client.replicaof("127.0.0.1", redis.second.port)

            async def is_stored() -> bool:
                await store(memory, [(make_key(2), make_outcome(2))])
                return len(redis.second.keys()) == 2

            await until(is_stored, "nothing is stored after the failover")

        with_memory(use, redis.url)
