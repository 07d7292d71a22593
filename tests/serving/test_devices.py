"""The devices of the settings, and which route runs on which."""

import asyncio
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from core.devices.interface import DeviceError
from core.devices.onnx import OnnxDevice
from core.devices.torch import TorchDevice
from core.messages import Request
from harness.tiny_routes import make_pictures, write_route
from monitoring.metrics.switched_off import NoMetrics
from serving.assembly import StartupError, open_engine
from serving.devices import open_devices
from serving.settings import Settings
from tests.fakes.tiny_vlm import write_vlm


def read(**tables: object) -> Settings:
    return Settings.model_validate(tables)


def test_without_settings_there_is_the_cpu_with_the_engines_limit(tmp_path: Path) -> None:
    routes = {"directories": [tmp_path]}
    devices = open_devices(read(engine={"state_limit_bytes": 7}, routes=routes))
    (device,) = devices.devices
    assert isinstance(device, OnnxDevice)
    assert (device.name, device.state_limit_bytes) == ("cpu", 7)
    assert devices.of("any") is device


def test_routes_run_on_the_devices_that_the_settings_name(tmp_path: Path) -> None:
    devices = open_devices(
        read(
            devices={
                "second": {"state_limit_bytes": 5},
                "nets": {"runtime": "torch"},
                "cpu": {"state_limit_bytes": 3},
            },
            routes={
                "directories": [tmp_path],
                "devices": {"large": "second", "words": "nets"},
            },
        )
    )
    assert [one.name for one in devices.devices] == ["cpu", "second", "nets"]
    assert [devices.of(route).name for route in ("large", "words", "other")] == [
        "second",
        "nets",
        "cpu",
    ]
    assert [one.state_limit_bytes for one in devices.devices[:2]] == [3, 5]
    assert isinstance(devices.of("words"), TorchDevice)


def test_a_route_that_needs_torch_gets_a_device_of_its_own(tmp_path: Path) -> None:
    write_vlm(tmp_path)
    write_route(tmp_path)
    devices = open_devices(read(routes={"directories": [tmp_path]}))
    assert [one.name for one in devices.devices] == ["cpu", "torch"]
    assert isinstance(devices.of("tiny-vlm"), TorchDevice)
    assert devices.of("tiny").name == "cpu"


def test_a_route_that_needs_torch_runs_where_the_settings_put_it(tmp_path: Path) -> None:
    write_vlm(tmp_path)
    nets = {"runtime": "torch", "state_limit_bytes": 5}
    devices = open_devices(
        read(
            devices={"nets": nets},
            routes={"directories": [tmp_path], "devices": {"tiny-vlm": "nets"}},
        )
    )
    assert [one.name for one in devices.devices] == ["cpu", "nets"]
    assert devices.of("tiny-vlm").name == "nets"


@pytest.mark.parametrize(
    ("tables", "sentence"),
    [
        (
            {"routes": {"devices": {"tiny": "gpu"}}},
            "routes.devices.tiny: 'gpu' given, the devices are cpu",
        ),
        (
            {"devices": {"gpu": {"providers": ["Absent"]}}},
            "devices.gpu: ONNX Runtime has no execution provider 'Absent' here, available are",
        ),
        (
            {"devices": {"gpu": {"runtime": "torch", "backend": "cuda", "gpu": 63}}},
            "devices.gpu: torch cannot use cuda:63 here",
        ),
    ],
)
def test_a_device_that_is_not_there_is_one_clear_sentence(
    tables: dict[str, object], sentence: str
) -> None:
    with pytest.raises(DeviceError) as caught:
        open_devices(read(**tables))
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)

    async def start() -> None:
        async with open_engine(read(**tables), NoMetrics()):
            pass

    with pytest.raises(StartupError, match="devices"):
        asyncio.run(start())


def test_torch_is_imported_only_where_a_device_needs_it(tmp_path: Path) -> None:
    code = f"""
import sys
from serving.devices import open_devices
from serving.settings import Settings
routes = {{"directories": [{str(tmp_path)!r}]}}
open_devices(Settings.model_validate({{"devices": {{"second": {{}}}}, "routes": routes}}))
print("torch" in sys.modules)
sys.modules["torch"] = None
try:
    nets = {{"nets": {{"runtime": "torch"}}}}
    open_devices(Settings.model_validate({{"devices": nets, "routes": routes}}))
except ValueError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded, sentence = done.stdout.splitlines()
    assert loaded == "False"
    assert sentence.startswith("devices.nets: the runtime torch needs a package")


def test_a_server_answers_from_two_devices_and_counts_each(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for route in ("one", "two"):
        write_route(tmp_path, route)
    settings = read(
        routes={"directories": [str(tmp_path)], "devices": {"two": "second", "three": "second"}},
        devices={"second": {}},
        energy={"source": "none"},
    )

    async def use() -> None:
        async with open_engine(settings, NoMetrics()) as (engine, _):
            assert engine.catalog.resolve("two", None).entry.device == "second"
            for route in ("one", "two"):
                await engine.answer(Request(route, {"image": make_pictures(4)}))
            busy = {name: one.device_s() for name, one in engine.schedulers}
            assert busy.keys() == {"cpu", "second"}
            assert min(busy.values()) > 0.0

    with caplog.at_level(logging.WARNING, "sparing.devices"):
        asyncio.run(use())
    assert [record.getMessage() for record in caplog.records] == [
        "routes.devices.three: no route of this name is served"
    ]
