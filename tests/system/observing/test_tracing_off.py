"""Tracing switched off loads nothing; switched on without its library it is refused in one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.live_server import ROOT
from harness.tiny_routes import write_route

OPENED = """
import asyncio, sys
import serving.process.host, sparing.cli
from serving.assembly import assemble
from serving.settings import Settings

async def main(enabled, models):
    settings = Settings.model_validate({
        "server": {"http_port": 0, "grpc_port": 0},
        "routes": {"directories": [models]},
        "tracing": {"enabled": enabled == "yes", "endpoint": "http://127.0.0.1:9/v1/traces"},
    })
    async with assemble(settings) as assembly:
        await assembly.end_drain()

asyncio.run(main(*sys.argv[1:]))
print(sorted({name.partition(".")[0] for name in sys.modules if name.startswith("opentel")}))
"""


def open_server(code: str, enabled: str, models: Path) -> "subprocess.CompletedProcess[str]":
    write_route(models)
    return subprocess.run(
        [sys.executable, "-c", code, enabled, str(models)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(("enabled", "loaded"), [("no", "[]"), ("yes", "['opentelemetry']")])
def test_the_library_is_loaded_only_where_tracing_is_on(
    enabled: str, loaded: str, tmp_path: Path
) -> None:
    done = open_server(OPENED, enabled, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == loaded


def test_without_the_library_the_server_says_in_one_line_what_to_install(tmp_path: Path) -> None:
    hide = "import sys\nsys.modules['opentelemetry'] = None\n"
    done = open_server(hide + OPENED, "yes", tmp_path)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("serving.assembly.StartupError: tracing.enabled: ")
    assert "the extra `tracing`" in last
