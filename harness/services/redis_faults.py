"""Faults of a Redis behind a proxy, and how to repair them; for benchmarks and tests."""

from collections.abc import Callable
from typing import Protocol

import numpy as np

from harness.services.redis_server import RedisServer
from harness.services.slow_proxy import SlowProxy

SLOW_S = 0.05


class Place(Protocol):
    """A Redis and the proxy in front of it."""

    @property
    def redis(self) -> RedisServer: ...
    @property
    def proxy(self) -> SlowProxy: ...


Harm = Callable[[Place], None]


def kill(place: Place) -> None:
    place.redis.kill()


def pause(place: Place) -> None:
    place.redis.pause()


def slow(place: Place) -> None:
    place.proxy.delay_s = SLOW_S


def fill(place: Place) -> None:
    """Fill Redis: it is out of space, evicts nothing, and has lost its content."""
    with place.redis.client() as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", "1")
        client.flushall()


def spoil(place: Place) -> None:
    """Corrupt every value: noise, a cut, one flipped bit, or another key's value."""
    rng = np.random.default_rng(3)
    with place.redis.client() as client:
        keys = place.redis.keys()
        values = client.mget(keys)
        for index, (key, value) in enumerate(zip(keys, values, strict=True)):
            turned = bytes((*value[:-1], value[-1] ^ 1))
            cut = value[: (len(value) + 1) // 2]  # never empty, however often a value is cut
            spoilt = (rng.bytes(len(value)), cut, turned, values[index - 1])
            client.set(key, spoilt[index % 4])


def restart(place: Place) -> None:
    place.redis.kill()
    place.redis.start()


def heal(place: Place) -> None:
    """Repair every fault; values that still exist stay."""
    place.proxy.delay_s = 0.0
    if place.redis.process.poll() is not None:
        place.redis.start()
    place.redis.resume()
    with place.redis.client() as client:
        client.config_set("maxmemory", "0")
