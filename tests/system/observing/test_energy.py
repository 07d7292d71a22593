"""Joules on a live server: a counter as the kernel shows it, driven by the CPU time really used."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from harness.live_server import LiveServer
from harness.services.fake_rapl import FakeRapl
from harness.tiny_routes import make_pictures, write_route
from harness.waiting import wait_until
from tests.clients.load import TENSOR
from tests.clients.raw_http import RawClient

pytestmark = pytest.mark.slow
IDLE_W, BUSY_CORE_W = 10.0, 5.0
PICTURES = make_pictures(32, seed=4)


@contextmanager
def count(folder: Path) -> Iterator[Path]:
    """A package that draws IDLE_W and BUSY_CORE_W a busy core."""
    with FakeRapl(folder / "sys", IDLE_W, BUSY_CORE_W) as meter:
        yield meter.root


def settings(root: Path) -> str:
    return f'[cache]\nenabled = false\n[energy]\nsysfs = "{root}"\nidle_w = {IDLE_W}\n'


async def ask_all(server: LiveServer, times: int, outputs: Sequence[str] = ()) -> list[Any]:
    """Each picture so many times, and the answers."""
    replies = []
    wanted = {"outputs": [{"name": name} for name in outputs]} if outputs else {}
    async with RawClient(server.http_port) as client:
        for picture in [*PICTURES] * times:
            tensor = {**TENSOR, "data": picture.ravel().tolist()}
            body = json.dumps({"inputs": [tensor], **wanted}).encode()
            reply = await client.post("/v2/models/tiny/infer", body)
            replies.append(json.loads(reply.body))
    return replies


def read_joules(server: LiveServer, name: str) -> dict[tuple[str, ...], float]:
    """A family's samples by label values, in order of label names."""
    return find_joules(server.get("/metrics").decode(), name)


def wait_for_reading(server: LiveServer) -> None:
    def read() -> float:
        return sum(read_joules(server, "sparing_energy_meter_joules_total").values())

    before = read()
    wait_until(lambda: read() > before, "the meter is not read")


def find_joules(text: str, name: str) -> dict[tuple[str, ...], float]:
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    }


def test_the_accounts_of_a_live_server_sum_to_the_meter_and_rows_get_their_part(
    tmp_path: Path,
) -> None:
    models = tmp_path / "models"
    write_route(models, width=512, thresholds=[0.9])
    with count(tmp_path) as root, LiveServer(models, settings(root)) as server:
        replies = asyncio.run(ask_all(server, 20))
        for _ in range(2):  # the second reading comes after the last row was told to the ledger
            wait_for_reading(server)
        text = server.get("/metrics").decode()  # one scrape: the meter runs on between two
        accounts = find_joules(text, "sparing_energy_account_joules_total")
        meter = find_joules(text, "sparing_energy_meter_joules_total")
        rows = find_joules(text, "sparing_energy_joules_total")
        assert sum(accounts.values()) == pytest.approx(sum(meter.values()), rel=1e-3)
        assert {name for name, _ in accounts} == {"rows", "overhead", "others", "idle"}
        assert all(joules >= 0 for joules in accounts.values())
        assert sum(rows.values()) == pytest.approx(accounts["rows", "rapl"], rel=0.05)
        device_s = sum(find_joules(text, "sparing_device_seconds_total").values())
        assert accounts["rows", "rapl"] == pytest.approx(BUSY_CORE_W * device_s, rel=0.25)
        assert replies[-1]["parameters"]["energy_source"] == "rapl"


def test_a_meter_that_vanishes_is_said_and_comes_back(tmp_path: Path) -> None:
    models = tmp_path / "models"
    write_route(models)
    with count(tmp_path) as root, LiveServer(models, settings(root)) as server:
        package = root / "class" / "powercap" / "intel-rapl:0"
        hidden = root / "hidden"
        package.rename(hidden)
        wait_until(lambda: server.metric("sparing_energy_degraded") == 1.0, "it is not noticed")
        assert asyncio.run(ask_all(server, 1))
        hidden.rename(package)
        wait_until(lambda: server.metric("sparing_energy_degraded") == 0.0, "it stays degraded")


def test_a_machine_without_meters_estimates_from_the_first_reply_on(tmp_path: Path) -> None:
    models = tmp_path / "models"
    write_route(models)
    with LiveServer(models, f'[energy]\nsysfs = "{tmp_path}"\n') as server:
        before = read_joules(server, "sparing_energy_joules_total")
        [first, *_] = asyncio.run(ask_all(server, 1, ["label", "energy_mj"]))
        assert first["parameters"]["energy_source"] == "model"
        [given] = [out["data"] for out in first["outputs"] if out["name"] == "energy_mj"]
        assert given[0] > 0.0
        again = asyncio.run(ask_all(server, 1, ["energy_mj"]))[0]
        assert again["outputs"][0]["data"] == [0.0]  # from the cache
        assert {source for *_, source in before} == {"model"} and not any(before.values())
        name = "sparing_energy_joules_total"
        wait_until(lambda: sum(read_joules(server, name).values()) > 0.0, "rows took nothing")


def test_none_means_none(tmp_path: Path) -> None:
    models = tmp_path / "models"
    write_route(models)
    with LiveServer(models, '[energy]\nsource = "none"\n') as server:
        reply = asyncio.run(ask_all(server, 1))[-1]
        assert reply["parameters"]["energy_source"] == "none"
        assert "sparing_energy_account_joules_total" not in server.get("/metrics").decode()
