"""The command line: help that teaches, tables, and failures of one sentence without a traceback."""

import json
import os
import resource
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from harness.live_server import LiveServer
from harness.tiny_routes import make_pictures, write_route
from sparing.cli import app

COMMAND = [sys.executable, "-m", "sparing.cli"]
ROOT = Path(__file__).parents[2]


def sparing(
    *arguments: str | Path, folder: Path = ROOT, **variables: str
) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1", "PYTHONPATH": str(ROOT)}
    environment |= variables
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


def assert_one_sentence(done: "subprocess.CompletedProcess[str]", code: int, *words: str) -> None:
    assert done.returncode == code, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("sparing: ")
    for word in words:
        assert word in line


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    write_route(root, "tiny", "1")
    write_route(root, "tiny", "2", thresholds=[1.0])
    return root


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "one.png"
    Image.fromarray(make_pictures(1)[0]).save(path)
    return path


@pytest.fixture(scope="module")
def server(models: Path) -> Iterator[LiveServer]:
    with LiveServer(models) as live:
        yield live


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["serve", "routes", "predict", "train", "bench"]),
        (["serve"], ["sparing serve --host 0.0.0.0", "--http-port", "--settings"]),
        (["routes"], ["sparing routes --url http://127.0.0.1:3000"]),
        (["predict"], ["sparing predict shoe.png --route fashion-mnist", "--timeout-ms"]),
        (["train"], ["pip install", "[train]"]),
        (["train", "dual-cnn"], ["sparing train dual-cnn --epochs 1", "$SPARING_DATA"]),
        (["train", "cbnet"], ["sparing train cbnet --data mnist", "--runs", "sparing compare"]),
        (["train", "exits"], ["sparing train exits --data mnist --net lenet", "--frozen"]),
        (["train", "vit"], ["sparing train vit --taught-by models/fashion-mnist-large/2"]),
        (["train", "vlm"], ["sparing train vlm --text-only", "--pyramid-drop", "--curriculum"]),
        (["train", "acm"], ["sparing train acm --teacher runs/acm", "--beta", "--shared-gate"]),
        (["bench"], ["sparing bench serving"]),
        (["simulate"], ["sparing simulate --trace day.csv", "--drift", "--price-per-pod-hour"]),
        (
            ["compare"],
            ["sparing compare --data mnist --only measure", "--seeds", "docs/reports/cbnet.md"],
        ),
    ],
)
def test_help_shows_an_example_of_each_command(arguments: list[str], words: list[str]) -> None:
    result = CliRunner().invoke(app, [*arguments, "--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    for word in words:
        assert word in result.output


def test_help_loads_neither_runtime_nor_server() -> None:
    code = (
        "import sys; from sparing.cli import run; code = run(['--help']);"
        "heavy = {'numpy', 'onnxruntime', 'uvicorn', 'grpc', 'torch'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_version_is_the_installed_one() -> None:
    assert sparing("--version").stdout == f"sparing {version('sparing')}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fly"], ["No such command", "fly"]),
        (["predict", "a.png"], ["--route"]),
        (["serve", "--http-port", "70000"], ["--http-port", "65535"]),
        (["serve", "--log-level", "loud"], ["--log-level", "loud"]),
        (["bench", "everything"], ["everything", "serving, peers, dual-cnn"]),
        (["compare", "--data", "cifar10"], ["--data", "cifar10", "fashion-mnist"]),
        (["predict", "a.png", "--route", "a", "--timeout-ms", "5"], ["--timeout-ms", "--url"]),
        (["routes", "--url", "localhost"], ["--url", "localhost", "http://HOST:PORT"]),
        (["routes", "--url", "http://a:b"], ["--url", "http://a:b"]),
        (["serve", "--settings", "absent.toml"], ["absent.toml", "No such file"]),
    ],
)
def test_asking_wrongly_is_one_sentence_and_exit_code_2(
    arguments: list[str], words: list[str]
) -> None:
    assert_one_sentence(sparing(*arguments), 2, *words)


def test_without_a_command_the_help_is_shown() -> None:
    done = sparing()
    assert "sparing serve" in done.stdout
    assert done.stderr == ""


def test_an_unknown_key_in_settings_toml_stops_the_server_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text("[server]\nhttp_prot = 3000\n")
    done = sparing("serve", folder=tmp_path)
    assert_one_sentence(done, 2, "settings.toml", "server.http_prot")


def test_settings_shows_what_is_in_force_and_where_it_comes_from(tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text("[server]\nhttp_port = 1\ngrpc_port = 2\nhost = 'a'\n")
    given = {
        "SPARING_SETTINGS": "other.toml",
        "SPARING_SERVER__GRPC_PORT": "20",
        "SPARING_SERVER__BEARER_TOKEN": "s3cret",
    }
    done = sparing("settings", "--json", "--http-port", "100", folder=tmp_path, **given)
    assert done.returncode == 0, done.stderr
    listed = json.loads(done.stdout)
    found = {key: (one["value"], one["source"], one["name"]) for key, one in listed.items()}
    assert found["server.http_port"] == (100, "option", "--http-port")
    assert found["server.grpc_port"] == (20, "environment", "SPARING_SERVER__GRPC_PORT")
    assert found["server.host"] == ("a", "file", "other.toml")
    assert "s3cret" not in done.stdout
    lines = sparing("settings", folder=tmp_path, **given).stdout.splitlines()
    assert "server.grpc_port = 20  # environment SPARING_SERVER__GRPC_PORT" in lines


def test_a_wrong_variable_stops_a_command_with_one_line(tmp_path: Path) -> None:
    done = sparing("serve", folder=tmp_path, SPARING_SERVER__HTTP_PROT="3000")
    assert_one_sentence(done, 2, "SPARING_SERVER__HTTP_PROT", "SPARING_SERVER__HTTP_PORT")
    done = sparing("serve", folder=tmp_path, SPARING_SERVER__HTTP_PORT="soon")
    assert_one_sentence(done, 2, "SPARING_SERVER__HTTP_PORT: ", "given 'soon'")


def test_routes_shows_what_directories_hold(models: Path) -> None:
    done = sparing("routes", "--models", models)
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert [row[:3] for row in rows if row[0] == "tiny"] == [
        ["tiny", "1", "dual-cnn"],
        ["tiny", "2", "dual-cnn"],
    ]
    assert "stage0: 7.84 k, stops at 0.500" in done.stdout


def test_routes_names_a_damaged_directory_and_shows_the_others(tmp_path: Path) -> None:
    write_route(tmp_path, "whole")
    write_route(tmp_path, "torn").joinpath("stage0.onnx").write_bytes(b"torn")
    done = sparing("routes", "--models", tmp_path)
    assert "whole" in done.stdout
    assert_one_sentence(done, 1, "torn", "stage0.onnx", "4 bytes")


def test_routes_of_a_missing_directory_is_one_sentence(tmp_path: Path) -> None:
    done = sparing("routes", "--models", tmp_path / "absent")
    assert_one_sentence(done, 1, f"{tmp_path / 'absent'}: no such directory", "--models")


def test_a_missing_default_directory_is_named_whole(tmp_path: Path) -> None:
    done = sparing("routes", folder=tmp_path)
    assert_one_sentence(done, 1, f"{tmp_path / 'models'}: no such directory", "--models")


def test_routes_shows_what_a_server_serves(server: LiveServer) -> None:
    done = sparing("routes", "--url", server.url)
    assert done.returncode == 0, done.stderr
    assert [line.split()[:2] for line in done.stdout.splitlines() if "dual-cnn" in line] == [
        ["tiny", "2"],
        ["tiny", "1"],
    ]


def test_a_server_and_this_process_predict_the_same(
    server: LiveServer, models: Path, picture: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.png"
    Image.fromarray(make_pictures(1, seed=1)[0]).save(other)
    here = sparing("predict", picture, other, "--route", "tiny", "--models", models)
    there = sparing("predict", picture, other, "--route", "tiny", "--url", server.url)
    assert here.returncode == 0, here.stderr
    assert there.returncode == 0, there.stderr
    answers = [[line.split()[:-1] for line in done.stdout.splitlines()] for done in (here, there)]
    assert answers[0] == answers[1]
    head, first, second = answers[0]
    assert head[0] == "picture"
    assert (first[0], second[0]) == (str(picture), str(other))
    assert "class" in first


def test_a_servers_refusal_is_its_sentence(server: LiveServer, picture: Path) -> None:
    done = sparing("predict", picture, "--route", "absent", "--url", server.url)
    assert_one_sentence(done, 1, "absent")


def test_a_deadline_reaches_the_server(server: LiveServer, picture: Path) -> None:
    arguments = ("--route", "tiny", "--url", server.url, "--timeout-ms")
    assert sparing("predict", picture, *arguments, "10000").returncode == 0
    assert_one_sentence(sparing("predict", picture, *arguments, "1e12"), 1, "timeout_ms")


def test_no_server_at_the_address_is_one_sentence(picture: Path) -> None:
    with socket.socket() as taken:  # bound and not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        done = sparing("predict", picture, "--route", "tiny", "--url", url)
    assert_one_sentence(done, 1, url, "refused", "sparing serve")


@pytest.mark.parametrize(("status", "body"), [(200, b"<html>"), (502, b"{}"), (500, b"[1]")])
def test_an_answer_of_something_else_is_one_sentence(status: int, body: bytes) -> None:
    class Stranger(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Stranger) as stranger:
        thread = threading.Thread(target=stranger.handle_request)
        thread.start()
        done = sparing("routes", "--url", f"http://127.0.0.1:{stranger.server_port}")
        thread.join()
    assert_one_sentence(done, 1, f"status {status}", "/v1/routes")


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, ["No such file"]), (b"no picture", ["no picture", "PNG or JPEG"])],
)
def test_what_is_no_picture_is_named(
    models: Path, tmp_path: Path, content: bytes | None, words: list[str]
) -> None:
    path = tmp_path / "strange.png"
    if content is not None:
        path.write_bytes(content)
    done = sparing("predict", path, "--route", "tiny", "--models", models)
    assert_one_sentence(done, 1, str(path), *words)


def test_an_unknown_route_is_told_which_there_are(models: Path, picture: Path) -> None:
    done = sparing("predict", picture, "--route", "absent", "--models", models)
    assert_one_sentence(done, 1, "absent", "tiny")


@pytest.mark.parametrize("endpoint", ["http", "grpc"])
def test_a_port_in_use_is_one_line_and_exit_code_1(models: Path, endpoint: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ports = {"http": "0", "grpc": "0", endpoint: port}
        done = sparing(
            "serve", "--models", models, "--log-level", "error",
            "--http-port", ports["http"], "--grpc-port", ports["grpc"],
        )  # fmt: skip
    assert_one_sentence(done, 1, port)


def test_without_torch_training_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['torch'] = None; from sparing.cli import main;"
        "main(['train', 'dual-cnn'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert_one_sentence(done, 1, "torch", ".[train]")


def test_training_a_converter_on_data_it_cannot_take_is_one_sentence(tmp_path: Path) -> None:
    done = sparing("train", "cbnet", "--data", "cifar10", "--runs", tmp_path)
    assert_one_sentence(done, 1, "'cifar10'", "mnist", "--epochs")


def test_training_cnns_for_data_that_has_none_is_one_sentence(tmp_path: Path) -> None:
    done = sparing("train", "dual-cnn", "--data", "tiny-imagenet-30", "--runs", tmp_path)
    assert_one_sentence(done, 1, "tiny-imagenet-30", "fashion-mnist")


@pytest.mark.parametrize("kind", ["cbnet", "exits"])
def test_a_folder_that_cannot_be_is_one_sentence(kind: str, tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("not a folder")
    code = f"""
import numpy as np
import training.exits, training.gated.experiment
from sparing.cli import main
from training.data.sets import SOURCES, DataSet, Split

split = Split(np.zeros((10, 28, 28), np.uint8), np.arange(10))
data = DataSet("mnist", SOURCES["mnist"], split, split, split, "0" * 64)
training.gated.experiment.load_data = training.exits.load_data = lambda name: data
main(["train", {kind!r}, "--data", "mnist", "--runs", {str(tmp_path / "runs")!r}])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert_one_sentence(done, 1, "runs")


def test_help_takes_less_than_a_second_of_cpu_time() -> None:
    def read_used_s() -> float:
        return sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])

    best_s = float("inf")
    for _ in range(3):
        began_s = read_used_s()
        sparing("--help")
        best_s = min(best_s, read_used_s() - began_s)
    assert best_s < 1.0  # 0.2 s on an idle machine


def test_a_servers_routes_are_json_that_the_table_understands(server: LiveServer) -> None:
    first = json.loads(server.get("/v1/routes"))["routes"][0]
    assert {"route", "version", "pipeline", "task", "stages", "expected_macs"} <= first.keys()
