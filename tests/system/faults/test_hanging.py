"""What hangs: a stopped worker is replaced, and no thread keeps a process that is told to end."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.live_server import ROOT, LiveServer
from harness.tiny_routes import write_route
from harness.waiting import wait_until
from tests.servers.workers import pids_of

CHECKED = "[workers]\ncount = 2\ncheck_interval_s = 0.1\nmax_missed_checks = 20\n"

# A server whose threads, reload or model hang once it has started.
SERVER = """
import asyncio, sys, threading
from pathlib import Path
from serving import assembly, reload
from serving.process import host
from serving.scheduling import device_thread
from serving.settings import Settings

kind, models = sys.argv[1:]
never = threading.Event()

def hang(*_):
    print("hangs", flush=True)
    never.wait()

class Terminal(host.Terminal):
    async def report_ready(self, started, metrics, stop, find_fault):
        if kind == "threads":
            threading.Thread(target=never.wait).start()
            asyncio.get_running_loop().run_in_executor(None, hang)
        if kind == "reload":
            reload.Reloader.refresh = hang
        if kind == "model":
            device_thread.run_batch = hang
            asyncio.create_task(ask())

async def ask():
    from core.messages import Request
    from harness.tiny_routes import make_pictures
    await engines[0].answer(Request("tiny", {"image": make_pictures(1)}))

engines = []
class Engine(assembly.Engine):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        engines.append(self)
assembly.Engine = Engine
watcher = assembly.Watcher
assembly.Watcher = lambda refresh, interval_s: watcher(lambda: reloader.refresh(), 0.05)
class Reloader(assembly.Reloader):
    def __init__(self, *args, **kwargs):
        global reloader
        super().__init__(*args, **kwargs)
        reloader = self
assembly.Reloader = Reloader
if kind == "threads":
    host.EXIT_GRACE_S = 0.5
settings = Settings.model_validate({
    "server": {"http_port": 0, "grpc_port": 0, "drain_s": 0.0, "drain_timeout_s": 0.2,
              "max_connections": 100},
    "routes": {"directories": [models]},
    "energy": {"source": "none"},
})
sys.exit(host.run(settings, Terminal()))
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    write_route(root)
    return root


@pytest.fixture
def server(models: Path) -> Iterator[LiveServer]:
    with LiveServer(models, CHECKED) as live:
        yield live


def test_a_stopped_worker_is_killed_and_replaced(server: LiveServer) -> None:
    victim, other = sorted(pids_of(server))
    os.kill(victim, signal.SIGSTOP)
    wait_until(lambda: victim not in pids_of(server), "it is not killed")
    wait_until(lambda: server.metric("sparing_workers") == 2, "it is not replaced")
    assert other in pids_of(server)
    lines = server.log.read_text().splitlines()
    (told,) = [line for line in lines if "ERROR" in line]
    assert told.endswith(
        f"worker process {victim} did not answer 20 checks, 0.1 s apart and was killed;"
        " replacing it"
    )
    assert server.stop() == 0


@pytest.mark.parametrize(
    ("kind", "code", "lines"), [("reload", 0, 0), ("threads", 1, 1), ("model", 1, 1)]
)
def test_a_process_that_is_told_to_end_ends_whatever_hangs(
    kind: str, code: int, lines: int, models: Path
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, kind, str(models)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "hangs\n"
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == code, errors
    assert len(errors.splitlines()) == lines, errors
