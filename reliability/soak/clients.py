"""Clients that send requests at a constant rate for a long time, and counts for each minute."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import numpy as np

from reliability.fuzz.clients import Fault
from reliability.soak.asks import Pool, make_ask
from reliability.wire.talk import Ports, Talker

CLIENTS = 48
PLAIN = frozenset({"http forms", "valid"})  # nothing slow, late or large: their latency is followed
REFUSED = ("http 429", "http 503", "grpc 8", "grpc 14")


@dataclass(slots=True)
class Soaked:
    """Counts since the start, and since the last line of a minute."""

    asked: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)
    faults: list[Fault] = field(default_factory=list)
    latencies_s: list[float] = field(default_factory=list)  # of plain requests, this minute
    minutes_p99_s: list[float] = field(default_factory=list)

    @property
    def refused(self) -> int:
        return sum(self.ended[name] for name in REFUSED)

    def end_minute(self) -> tuple[float, float]:
        """Median and p99 of the minute, in seconds."""
        if not self.latencies_s:
            return 0.0, 0.0
        p50, p99 = np.percentile(self.latencies_s, (50, 99))
        self.latencies_s.clear()
        self.minutes_p99_s.append(float(p99))
        return float(p50), float(p99)


async def ask_for(
    seconds: float,
    rate: float | None,
    ports: Ports,
    pool: Pool,
    soaked: Soaked,
    stopping: Callable[[], bool],
    limit_s: float = 30.0,
) -> None:
    """Send this many requests a second, at random times; without a rate, each after a reply."""
    rng = Random(soaked.asked)
    end = time.monotonic() + seconds
    due = time.monotonic()

    async def serve(client: int) -> None:
        nonlocal due
        talker = Talker(ports, limit_s, soaked.ended, seed=client)
        own = Random(rng.random())
        try:
            while time.monotonic() < end and not stopping():
                if rate is not None:
                    due = max(due, time.monotonic() - 1.0) + rng.expovariate(rate)
                    await asyncio.sleep(due - time.monotonic())
                await _ask_one(talker, own, pool, soaked)
        finally:
            talker.close()

    await asyncio.gather(*(serve(client) for client in range(CLIENTS)))


async def _ask_one(talker: Talker, rng: Random, pool: Pool, soaked: Soaked) -> None:
    conversation = make_ask(rng, pool)
    began = time.monotonic()
    sentence = await talker.hold(conversation)
    if conversation.kind in PLAIN and len(conversation.packets) < 2:
        soaked.latencies_s.append(time.monotonic() - began)
    soaked.asked += 1
    soaked.kinds[conversation.kind] += 1
    if sentence:
        soaked.faults.append(Fault(soaked.asked, conversation.kind, sentence))
