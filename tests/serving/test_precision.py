"""The settings say which of two files runs; the server says which it is."""

import logging
from pathlib import Path

import pytest

from core.devices.onnx import OnnxDevice
from core.explaining import RowPath, StageRun
from core.messages import Request
from monitoring.metrics.switched_off import NoMetrics
from routes.loading import load_route
from serving.devices import RouteDevices, open_devices
from serving.engine.catalog import Catalog
from serving.oip.descriptions import describe_model, describe_route
from serving.oip.explanations import Explained, describe_explanation
from serving.reload import Reloader
from serving.settings import Settings
from tests.fakes.two_files import write_two_files


def find_precisions(directory: Path, **routes: object) -> list[str | None]:
    devices = open_devices(Settings.model_validate({"routes": routes}))
    manifest = load_route(directory, devices.of("tiny")).manifest
    return [stage.precision for stage in manifest.stages]


def test_a_routes_own_setting_goes_before_that_of_all(tmp_path: Path) -> None:
    directory = write_two_files(tmp_path)
    assert find_precisions(directory, precision="int8") == ["int8", "int8"]
    only = {"tiny": "float32"}
    assert find_precisions(directory, precision="int8", precisions=only) == ["float32"] * 2
    assert (
        find_precisions(directory, precision="float32", precisions={"other": "int8"})
        == ["float32"] * 2
    )


def test_a_route_keeps_its_device_with_a_precision_of_its_own() -> None:
    devices = RouteDevices(
        [OnnxDevice(), OnnxDevice(name="second")], {"tiny": "second"}, {"tiny": "int8"}
    )
    assert devices.of("tiny").name == "second"


def test_a_precision_of_no_route_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    devices = RouteDevices([OnnxDevice()], {}, {"gone": "int8", "tiny": "int8"})
    with caplog.at_level(logging.WARNING, "sparing.devices"):
        devices.report_unserved(["tiny"])
        devices.report_unserved(["tiny"])
    assert [record.getMessage() for record in caplog.records] == [
        "routes.precisions.gone: no route of this name is served"
    ]


def test_a_precision_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="precision"):
        Settings.model_validate({"routes": {"precision": "int4"}})


def test_descriptions_say_which_file_runs(tmp_path: Path) -> None:
    directory = write_two_files(tmp_path)
    manifest = load_route(directory, OnnxDevice(precision="int8")).manifest
    (first, _) = describe_route(manifest, "ab", {})["stages"]
    assert (first["file"], first["precision"]) == ("stage0-int8.onnx", "int8")
    model = describe_model("tiny", manifest, ["1"])
    assert model["parameters"] == {"precision.stage0": "int8", "precision.stage1": "int8"}
    path = RowPath(0.0)
    path.add(StageRun("stage1", 0, 0, 0, 1, 1, None, False, None, None, {}, {}))
    request = Request("tiny", {})
    explained = Explained(request, manifest, "ab", True, False, path, None)
    (run,) = describe_explanation(explained, None)["stages"]
    assert run["precision"] == "int8"


def test_the_log_says_which_stages_run_in_int8(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_two_files(tmp_path / "models")
    devices = RouteDevices([OnnxDevice(precision="int8")])
    loading = Reloader([tmp_path / "models"], Catalog(), devices, NoMetrics(), is_cached=True)
    with caplog.at_level(logging.INFO, "sparing.routes"):
        loading.refresh()
    assert any(
        record.getMessage().endswith(", in int8: stage0, stage1") for record in caplog.records
    )
