"""Concurrent clients, each taking the next conversation; faults are saved by number."""

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from reliability.fuzz.mix import make_conversation
from reliability.samples import Sample
from reliability.wire.conversation import Conversation
from reliability.wire.talk import Ports, Talker

MAX_FAULTS = 20  # more tell nothing new
CLIENTS = 64


@dataclass(frozen=True, slots=True)
class Fault:
    """A conversation with a wrong result; its number reproduces it."""

    number: int
    kind: str
    sentence: str


@dataclass(slots=True)
class GridSums:
    """The counts so far."""

    done: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)
    faults: list[Fault] = field(default_factory=list)

    def save(self, path: Path, seed: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        table = {
            "seed": seed,
            "done": self.done,
            "kinds": self.kinds,
            "ended": self.ended,
            "faults": [asdict(one) for one in self.faults],
        }
        path.write_text(json.dumps(table, indent=1) + "\n")


def read_tally(path: Path, seed: int) -> GridSums:
    """What an earlier run with this seed saved, or nothing."""
    try:
        table = json.loads(path.read_text())
    except OSError:
        return GridSums()
    if table["seed"] != seed:
        return GridSums()
    faults = [Fault(**one) for one in table["faults"]]
    return GridSums(table["done"], Counter(table["kinds"]), Counter(table["ended"]), faults)


@dataclass(frozen=True, slots=True)
class Plan:
    """Conversations `first` to `count - 1` of a seed."""

    seed: int
    count: int
    first: int = 0
    clients: int = CLIENTS
    limit_s: float = 30.0
    max_faults: int = MAX_FAULTS


async def run_fuzz(
    plan: Plan,
    ports: Ports,
    samples: Sequence[Sample],
    tally: GridSums,
    stopping: Callable[[], bool] = lambda: False,
    make: Callable[[int, int, Sequence[Sample]], Conversation] = make_conversation,
) -> None:
    """Run all conversations of the plan; stop early on too many faults or a signal."""
    numbers = itertools.count(plan.first)

    async def serve(client: int) -> None:
        talker = Talker(ports, plan.limit_s, tally.ended, seed=client)
        try:
            while len(tally.faults) < plan.max_faults and not stopping():
                number = next(numbers)
                if number >= plan.count:
                    return
                conversation = make(plan.seed, number, samples)
                sentence = await talker.hold(conversation)
                tally.done += 1
                tally.kinds[conversation.kind] += 1
                if sentence:
                    tally.faults.append(Fault(number, conversation.kind, sentence))
        finally:
            talker.close()

    await asyncio.gather(*(serve(client) for client in range(plan.clients)))
