"""The runtime's telemetry is off in every process that serves."""

import subprocess
import sys

import pytest

CODE = """
import builtins, os, sys
real = builtins.__import__
def watch(name, *rest):
    if name == "onnxruntime" and "onnxruntime" not in sys.modules:
        assert os.environ.get("ORT_DISABLE_TELEMETRY") == "1", "imported too early"
        print("imported")
    return real(name, *rest)
builtins.__import__ = watch
import {module}
import routes.loading
"""


@pytest.mark.parametrize(
    "module", ["sparing.cli", "serving.service", "serving.process.worker_main"]
)
def test_telemetry_is_off_before_the_runtime_is_imported(module: str) -> None:
    command = [sys.executable, "-c", CODE.replace("{module}", module)]
    environment = {"PATH": "/usr/bin:/bin", "BENTOML_DO_NOT_TRACK": "True"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "imported" in done.stdout
