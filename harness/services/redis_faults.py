"""Harm to a Redis behind a proxy, and what heals all of it; for benchmarks and tests."""

from collections.abc import Callable
from typing import Protocol

import numpy as np

from harness.services.redis_server import RedisServer
from harness.services.slow_proxy import SlowProxy

SLOW_S = 0.05


class Place(Protocol):
    """Where it happens."""

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
    """No room for anything, nothing leaves by itself, and what was there is gone."""
    with place.redis.client() as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", "1")
        client.flushall()


def spoil(place: Place) -> None:
    """Every value: noise, cut off, one bit turned, or another key's."""
    rng = np.random.default_rng(3)
    with place.redis.client() as client:
        keys = place.redis.keys()
        values = client.mget(keys)
        for index, (key, value) in enumerate(zip(keys, values, strict=True)):
            turned = bytes((*value[:-1], value[-1] ^ 1))
            spoilt = (rng.bytes(len(value)), value[: len(value) // 2], turned, values[index - 1])
            client.set(key, spoilt[index % 4])


def restart(place: Place) -> None:
    place.redis.kill()
    place.redis.start()


def heal(place: Place) -> None:
    """Whatever it was; what it held stays, where it has not gone."""
    place.proxy.delay_s = 0.0
    if place.redis.process.poll() is not None:
        place.redis.start()
    place.redis.resume()
    with place.redis.client() as client:
        client.config_set("maxmemory", "0")
