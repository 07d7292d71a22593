"""Random requests of one row that arrive together get what each would get alone."""

import asyncio
from collections.abc import Mapping
from random import Random

from core.messages import Step
from serving.engine.catalog import Catalog
from tests.fakes.toys import ToyStage, cascade, serve_toy
from tests.serving.http.infer.binary_rows import last_number
from tests.serving.http.infer.gathered_clients import Clients
from tests.serving.http.wire import Scene, play


def _expect(value: float) -> float | None:
    """The answer of `_moody_cascade`; None: it fails."""
    if value % 13 == 12:
        return None
    return value if value % 2 == 0 else value + 100


def _moody_cascade() -> tuple[ToyStage, ToyStage]:
    light, large = cascade()
    decide = light.step

    def step(value: float) -> Step:
        if value % 13 == 12:
            raise ValueError("no")
        return decide(value)

    light.step = step
    return light, large


def test_random_clients_get_what_each_would_get_alone() -> None:
    """Rows that fail, go on, are cached, repeated or abandoned, in random company."""
    light, large = _moody_cascade()

    async def script(scene: Scene) -> None:
        scene.engine.catalog = Catalog([serve_toy(light, large, metrics=scene.metrics)])
        rng = Random(11)
        clients = await Clients.open(scene, 24)
        here = list(range(24))
        for turn in range(60):
            asked = {
                client: float(rng.randrange(80) + 80 * (turn // 10))
                for client in here
                if rng.random() < 0.8
            }
            await _send_all(clients, asked, rng)
            if rng.random() < 0.2 and len(here) > 12:
                leaving = rng.choice([*asked])
                clients.leave(leaving)
                here.remove(leaving)
                del asked[leaving]
            await _check_all(clients, asked)
        assert len(clients.groups) > 60
        assert max(map(len, light.batches)) > 8

    play(script)


async def _send_all(clients: Clients, asked: Mapping[int, float], rng: Random) -> None:
    for client, value in asked.items():
        clients.send(client, value)
        if rng.random() < 0.1:
            await asyncio.sleep(0)


async def _check_all(clients: Clients, asked: Mapping[int, float]) -> None:
    for client, value in asked.items():
        (answer,) = await clients.answers(client)
        clients.wire(client).written = b""
        if _expect(value) is None:
            assert answer[0] == 500, value
        else:
            assert last_number(answer) == _expect(value)
