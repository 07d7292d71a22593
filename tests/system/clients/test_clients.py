"""Stock tritonclient against a real server, over HTTP and gRPC: the same rows, the same answers."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException

from core.devices.onnx import OnnxDevice
from harness.live_server import LiveServer
from harness.tiny_routes import make_pictures, write_route
from routes.loading import load_route
from routes.offline import run_offline

EXPLANATION = ("confidence", "exit", "stopped_by", "cached", "macs", "energy_mj", "latency_ms")
PICTURES = make_pictures(64, seed=3)

Answers = dict[str, npt.NDArray[np.generic]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    root = tmp_path_factory.mktemp("models")
    write_route(root)
    write_route(root, version="2", seed=2)
    with LiveServer(root) as live:
        yield live


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    route = load_route(write_route(tmp_path_factory.mktemp("same")), OnnxDevice())
    rows = run_offline(route.pipeline, {"image": PICTURES}, OnnxDevice())
    outcomes = [row.outcome for row in rows if row.outcome is not None]
    return {
        "label": np.stack([one.outputs["label"] for one in outcomes]),
        "probabilities": np.stack([one.outputs["probabilities"] for one in outcomes]),
        "confidence": np.array([one.confidence for one in outcomes], np.float32),
        "exit": np.array([one.exit.encode() for one in outcomes], np.object_),
    }


def ask_http(
    server: LiveServer, pictures: npt.NDArray[np.uint8], *, binary: bool = True, **options: Any
) -> Answers:
    names = options.pop("names", ("label", "probabilities", *EXPLANATION))
    with triton_http.InferenceServerClient(f"127.0.0.1:{server.http_port}") as client:
        tensor = triton_http.InferInput("image", list(pictures.shape), "UINT8")
        tensor.set_data_from_numpy(pictures, binary_data=binary)
        outputs = [triton_http.InferRequestedOutput(name, binary_data=binary) for name in names]
        result = client.infer("tiny", [tensor], outputs=outputs, **options)
        return {name: result.as_numpy(name) for name in names}


def ask_grpc(server: LiveServer, pictures: npt.NDArray[np.uint8], **options: Any) -> Answers:
    names = ("label", "probabilities", *EXPLANATION)
    with triton_grpc.InferenceServerClient(server.grpc_address) as client:
        tensor = triton_grpc.InferInput("image", list(pictures.shape), "UINT8")
        tensor.set_data_from_numpy(pictures)
        outputs = [triton_grpc.InferRequestedOutput(name) for name in names]
        result = client.infer("tiny", [tensor], outputs=outputs, **options)
        return {name: result.as_numpy(name) for name in names}


@pytest.mark.parametrize("size", [1, 7, 64])
@pytest.mark.parametrize("endpoint", ["http binary", "http json", "grpc"])
def test_every_endpoint_and_batch_size_gives_the_offline_answer_bit_for_bit(
    server: LiveServer, offline: Answers, endpoint: str, size: int
) -> None:
    options: dict[str, Any] = {"model_version": "1", "parameters": {"no_cache": True}}
    got: Answers = {}
    for start in range(0, len(PICTURES), size):
        rows = PICTURES[start : start + size]
        if endpoint == "grpc":
            part = ask_grpc(server, rows, **options)
        else:
            part = ask_http(server, rows, binary=endpoint == "http binary", **options)
        for name, value in part.items():
            got[name] = np.concatenate([got[name], value]) if name in got else value
    for name in ("label", "probabilities", "confidence"):
        np.testing.assert_array_equal(got[name], offline[name], err_msg=name)
    assert [_text(exit) for exit in got["exit"]] == [_text(exit) for exit in offline["exit"]]


def test_the_explanation_says_what_ran_and_why(server: LiveServer) -> None:
    got = ask_http(server, PICTURES[:8], parameters={"no_cache": True})
    assert {_text(reason) for reason in got["stopped_by"]} <= {"confidence", "last_stage"}
    assert not got["cached"].any()
    assert (got["energy_mj"].astype(float) > 0).all()
    assert (got["macs"].astype(int) > 0).all()
    assert (got["latency_ms"].astype(float) > 0).all()


def test_a_picture_seen_before_comes_from_memory_through_either(
    server: LiveServer,
) -> None:
    picture = make_pictures(1, seed=99)
    first = ask_http(server, picture)
    again = ask_grpc(server, picture)
    assert (bool(first["cached"][0]), bool(again["cached"][0])) == (False, True)
    assert _text(again["stopped_by"][0]) == "cache"
    assert int(again["macs"][0]) == 0
    np.testing.assert_array_equal(first["probabilities"], again["probabilities"])


def test_min_confidence_sends_a_row_on_to_the_last_stage(server: LiveServer) -> None:
    got = ask_http(server, PICTURES[:8], parameters={"min_confidence": "1.0"})
    assert {_text(reason) for reason in got["stopped_by"]} == {"last_stage"}


def test_health_and_metadata_by_stock_clients(server: LiveServer) -> None:
    with triton_http.InferenceServerClient(f"127.0.0.1:{server.http_port}") as client:
        assert client.is_server_live() and client.is_server_ready()
        assert client.is_model_ready("tiny") and not client.is_model_ready("nothing")
        metadata = client.get_model_metadata("tiny")
        assert metadata["inputs"] == [{"name": "image", "datatype": "UINT8", "shape": [-1, 28, 28]}]
        assert set(metadata["versions"]) == {"1", "2"}
    with triton_grpc.InferenceServerClient(server.grpc_address) as rpc:
        assert rpc.is_server_live() and rpc.is_server_ready() and rpc.is_model_ready("tiny", "2")
        assert rpc.get_model_metadata("tiny").inputs[0].datatype == "UINT8"


def test_the_task_chooses_a_route(server: LiveServer) -> None:
    with triton_http.InferenceServerClient(f"127.0.0.1:{server.http_port}") as client:
        tensor = triton_http.InferInput("image", [1, 28, 28], "UINT8")
        tensor.set_data_from_numpy(PICTURES[:1])
        result = client.infer("auto:classify-tiny", [tensor])
        assert result.get_response()["parameters"]["route"] == "tiny"


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def test_the_client_reads_statistics_and_the_index(server: LiveServer) -> None:
    with triton_http.InferenceServerClient(f"127.0.0.1:{server.http_port}") as client:
        before = _read_statistics(client)
        rows = PICTURES[:3]
        ask_http(server, rows, parameters={"no_cache": True})
        after = _read_statistics(client)
        assert after["inference_count"] - before["inference_count"] == 3
        success = [one["inference_stats"]["success"] for one in (before, after)]
        assert success[1]["count"] - success[0]["count"] == 1
        assert success[1]["ns"] > success[0]["ns"]
        assert after["last_inference"] >= before["last_inference"]
        served = {(one["name"], one["version"]) for one in _all_statistics(client)}
        assert served == {("tiny", "1"), ("tiny", "2")}
        index = client.get_model_repository_index()
        assert {(one["name"], one["version"], one["state"]) for one in index} == {
            ("tiny", "1", "READY"),
            ("tiny", "2", "READY"),
        }
        for change in (client.load_model, client.unload_model):
            with pytest.raises(InferenceServerException, match="no load or unload"):
                change("tiny")


def test_the_grpc_client_reads_the_same(server: LiveServer) -> None:
    with (
        triton_http.InferenceServerClient(f"127.0.0.1:{server.http_port}") as http,
        triton_grpc.InferenceServerClient(server.grpc_address) as grpc,
    ):
        ask_grpc(server, PICTURES[:2])
        read = grpc.get_inference_statistics("tiny", "2", as_json=True)
        (found,) = read["model_stats"]
        told = _read_statistics(http)
        for name in ("inference_count", "execution_count", "last_inference"):
            assert int(found[name]) == told[name]
        for name, duration in told["inference_stats"].items():
            assert _numbers(found["inference_stats"][name]) == duration
        sizes = [int(one["batch_size"]) for one in found["batch_stats"]]
        assert sizes == [one["batch_size"] for one in told["batch_stats"]]
        assert len(grpc.get_inference_statistics().model_stats) == 2
        index = grpc.get_model_repository_index().models
        assert {(one.name, one.version, one.state) for one in index} == {
            ("tiny", "1", "READY"),
            ("tiny", "2", "READY"),
        }
        for change in (grpc.load_model, grpc.unload_model):
            with pytest.raises(InferenceServerException, match="no load or unload"):
                change("tiny")


def _numbers(duration: dict[str, str]) -> dict[str, int]:
    return {name: int(duration.get(name, 0)) for name in ("count", "ns")}


def _all_statistics(client: triton_http.InferenceServerClient) -> list[dict[str, Any]]:
    stats: list[dict[str, Any]] = client.get_inference_statistics()["model_stats"]
    return stats


def _read_statistics(client: triton_http.InferenceServerClient) -> dict[str, Any]:
    (found,) = client.get_inference_statistics("tiny", "2")["model_stats"]
    return dict(found)
