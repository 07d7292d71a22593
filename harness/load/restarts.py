"""Restarts servers one after the other under load over both endpoints."""

import http.client
import json
from collections.abc import Sequence
from statistics import median
from typing import Protocol

from harness.load.callers import Callers, Tally
from harness.load.rpc import encode_grpc
from harness.pictures import load_pictures
from harness.waiting import wait_until

ROUTE = "fashion-mnist"
THREADS = 4  # callers over each endpoint


class Restartable(Protocol):
    """A server that can be stopped and started again on the same ports."""

    http_port: int
    grpc_port: int

    def start(self) -> None: ...
    def stop(self) -> tuple[float, int]: ...


def is_ready(port: int) -> bool:
    """Return whether a server at this HTTP port is ready."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def restart_under_load(
    servers: Sequence[Restartable], restarts: int, grace_s: float
) -> tuple[Callers, list[str]]:
    """Stop and start the servers in turn under load; return the callers and the faults. A stop may
    take `grace_s` seconds.
    """
    [picture] = load_pictures()[0][:1]
    tensor = {"name": "image", "datatype": "UINT8", "shape": [1, *picture.shape]}
    body = {"inputs": [{**tensor, "data": picture.ravel().tolist()}]}
    body["parameters"] = {"no_cache": True}  # type: ignore[assignment]
    ports = [one.http_port for one in servers], [one.grpc_port for one in servers]
    bodies = json.dumps(body).encode(), encode_grpc(ROUTE, picture)
    callers = Callers(ports, bodies, f"/v2/models/{ROUTE}/infer", THREADS)
    faults, seconds = [], []
    with callers:
        for number in range(restarts):
            server = servers[number % len(servers)]
            wait_for_load(callers)
            took_s, code = server.stop()
            seconds.append(took_s)
            if code != 0 or took_s >= grace_s:
                faults.append(f"a stop took {took_s:.1f} s and ended with exit code {code}")
            server.start()
    print(f"stop: {median(seconds):.1f} s (median of {restarts}, longest {max(seconds):.1f} s)")
    return callers, faults


def wait_for_load(callers: Callers) -> None:
    """Wait until both endpoints have answered more than before."""
    before = callers.http.answered, callers.grpc.answered
    wait_until(lambda: callers.http.answered > before[0] + 50, "no answers over HTTP")
    wait_until(lambda: callers.grpc.answered > before[1] + 50, "no answers over gRPC")


def report(name: str, tally: Tally) -> list[str]:
    print(f"{name}: {tally.answered} answered, {tally.retried} sent again, {tally.failed} failed")
    return [f"{name}: {reason}" for reason in tally.failures]
