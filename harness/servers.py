"""Starts servers as processes on free ports, waits until they are ready, and stops them.

The server under test and its baselines are all started here, so that they run in the same way.
"""

import http.client
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from prometheus_client.parser import text_string_to_metric_families

from harness.process_tree import read_cpu_s

START_LIMIT_S = 60.0
_POLL_S = 0.01


@dataclass(frozen=True, slots=True)
class Server:
    """A running server; a port it does not have is 0."""

    pid: int
    http_port: int
    grpc_port: int
    ready_s: float  # from exec to the first successful reply


def find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def run_sparing(
    models: Path, settings: Path, workers: int = 1, *, checkout: Path | None = None
) -> Iterator[Server]:
    """Run Sparing with these routes and settings; with `checkout`, the code of that folder."""
    http_port, grpc_port = find_free_port(), find_free_port()
    command = [str(Path(sys.executable).with_name("sparing")), "serve", "--log-level", "error"]
    command += ["--http-port", str(http_port), "--grpc-port", str(grpc_port)]
    command += ["--models", str(models), "--settings", str(settings)]
    command += ["--workers", str(workers)]
    environment = {} if checkout is None else {"PYTHONPATH": str(checkout)}
    with run_command(command, http_port, grpc_port, environment) as server:
        yield server


@contextmanager
def run_servers(
    models: Path, settings: Mapping[str, str], work: Path
) -> Iterator[dict[str, Server]]:
    """Run servers by name, each with its settings, which are written into the folder `work`."""
    with ExitStack() as stack:
        servers: dict[str, Server] = {}
        for name, text in settings.items():
            path = work / f"{name}.toml"
            path.write_text(text)
            servers[name] = stack.enter_context(run_sparing(models, path))
        yield servers


@contextmanager
def run_bento(models: Path, settings: Path, home: Path) -> Iterator[Server]:
    """Run Sparing inside BentoML, which stores its files in the folder `home`."""
    http_port, grpc_port = find_free_port(), find_free_port()
    command = [str(Path(sys.executable).with_name("bentoml")), "serve", "serving.service:service"]
    command += ["--host", "127.0.0.1", "--port", str(http_port)]
    environment = {
        "BENTOML_HOME": str(home),
        "BENTOML_DO_NOT_TRACK": "True",
        "SPARING_GRPC_PORT": str(grpc_port),
        "SPARING_MODELS": str(models),
        "SPARING_SETTINGS": str(settings),
    }
    with run_command(command, http_port, grpc_port, environment) as server:
        yield server


@contextmanager
def run_echo() -> Iterator[Server]:
    """The bare echo."""
    port = find_free_port()
    with run_command(
        [sys.executable, "-m", "harness.load.echo", "--port", str(port)], port, 0
    ) as server:
        yield server


@contextmanager
def run_no_op(reply: Path) -> Iterator[Server]:
    """The gRPC no-op, answering with the message in the file `reply`."""
    port = find_free_port()
    command = [sys.executable, "-m", "harness.load.rpc", "--port", str(port), "--reply", str(reply)]
    with run_command(command, 0, port) as server:
        yield server


def post(
    port: int, path: str, body: bytes, headers: Sequence[str] = ()
) -> tuple[bytes, dict[str, str]]:
    """Send one POST. Raises RuntimeError with the server's reply if the status is not 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        fields = dict(line.split(": ", 1) for line in headers)
        connection.request("POST", path, body, fields)
        answer = connection.getresponse()
        raw = answer.read()
    finally:
        connection.close()
    if answer.status != 200:
        raise RuntimeError(f"{path} was answered {answer.status}: {raw[:300]!r}")
    return raw, {name.lower(): value for name, value in answer.getheaders()}


def read_metrics(port: int) -> Iterator[tuple[str, dict[str, str], float]]:
    """Yield name, labels and value of every sample of the server's /metrics."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            yield sample.name, sample.labels, sample.value


def sum_metric(
    samples: Iterable[tuple[str, dict[str, str], float]], name: str, **labels: str
) -> float:
    """Sum all samples of that name with these labels."""
    return sum(
        value for known, has, value in samples if known == name and labels.items() <= has.items()
    )


Counters = Mapping[str, tuple[str, Mapping[str, str]]]  # by a name of one's own: metric, labels


def read_counters(server: Server, counters: Counters) -> dict[str, float]:
    samples = list(read_metrics(server.http_port))
    return {name: sum_metric(samples, metric, **labels)
            for name, (metric, labels) in counters.items()}  # fmt: skip


@contextmanager
def count_spent(server: Server, counters: Counters) -> Iterator[dict[str, float]]:
    """Fill the dictionary at the end of the block: by how much these counters grew, and `cpu_s`."""
    spent: dict[str, float] = {}
    before = read_counters(server, counters)
    cpu_s = read_cpu_s(server.pid)
    yield spent
    spent["cpu_s"] = read_cpu_s(server.pid) - cpu_s
    after = read_counters(server, counters)
    spent |= {name: after[name] - before[name] for name in counters}


@contextmanager
def run_command(
    command: Sequence[str],
    http_port: int,
    grpc_port: int,
    environment: Mapping[str, str] = MappingProxyType({}),
    ready: str = "/readyz",
) -> Iterator[Server]:
    """Run a server; without an HTTP port, it is ready when it accepts connections."""
    started = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, env={**os.environ, **environment}
    )
    try:
        while not (_is_ready(http_port, ready) if http_port else _listens(grpc_port)):
            if process.poll() is not None:
                raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
            if time.perf_counter() - started > START_LIMIT_S:
                raise RuntimeError(f"{' '.join(command)} is not ready after {START_LIMIT_S:.0f} s")
            time.sleep(_POLL_S)
        yield Server(process.pid, http_port, grpc_port, time.perf_counter() - started)
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _is_ready(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True
