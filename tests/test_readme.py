"""What the README shows is what a server answers."""

import json
import re
import subprocess
import sys
import urllib.request

import pytest

from harness.live_server import ROOT, LiveServer

README = (ROOT / "README.md").read_text()


def find_block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", README, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_picture_gets_the_answer_of_the_readme() -> None:
    picture = (ROOT / "docs" / "pictures" / "coat.png").read_bytes()
    settings = '[energy]\nsource = "model"\n[routes]\nprecision = "float32"\n'
    with LiveServer(ROOT / "models", settings) as server:
        url = server.url + "/v1/routes/fashion-mnist/predict"
        with urllib.request.urlopen(urllib.request.Request(url, picture), timeout=10) as reply:
            given = json.loads(reply.read())
    promised = json.loads(find_block("json"))
    [answer], [wanted] = given.pop("answers"), promised.pop("answers")
    assert given == promised
    for name in ("latency_ms", "energy_mj"):  # of the machine
        assert answer.pop(name) > 0 and wanted.pop(name) > 0
    for name in ("probabilities", "confidence"):  # the last digits are the processor's
        assert answer.pop(name) == pytest.approx(wanted.pop(name), abs=1e-4)
    for one, other in zip(answer["top"], wanted["top"], strict=True):
        assert one.pop("probability") == pytest.approx(other.pop("probability"), abs=1e-4)
    assert answer == wanted


@pytest.mark.parametrize("endpoint", ["http", "grpc"])
def test_the_client_of_the_readme_runs_on_either_endpoint(endpoint: str) -> None:
    code = find_block("python")
    with LiveServer(ROOT / "models") as server:
        code = code.replace("127.0.0.1:3000", f"127.0.0.1:{server.http_port}")
        if endpoint == "grpc":
            code = code.replace("tritonclient.http", "tritonclient.grpc")
            code = code.replace(f"127.0.0.1:{server.http_port}", server.grpc_address)
            code = code.replace('{"timeout_ms": 50}', '{"timeout_ms": "500"}')
        code = code.replace('{"timeout_ms": 50}', '{"timeout_ms": 500}')  # a busy machine
        ended = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, timeout=60, check=True
        )
    assert b"'exit': b'cnn-36m'" in ended.stdout
    assert b"'stopped_by': b'last_stage'" in ended.stdout
