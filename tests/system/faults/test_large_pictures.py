"""Large pictures on a real server: bounded, given up with their client, and answered at SIGTERM."""

import os
import resource
import socket
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.live_server import LiveServer
from harness.waiting import wait_until
from tests.clients.bad_input import PREDICT, Victim, post, read_reply, serve_victim
from tests.fakes.picture_files import chunk, write_png

RESET = struct.pack("ii", 1, 0)  # close without a word


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Victim]:
    with serve_victim(tmp_path) as victim:
        yield victim


@pytest.fixture(scope="module")
def large() -> bytes:
    """47 kB that become 16 million pixels."""
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(bytes(12_001 * 100)) for _ in range(40)) + packer.flush()
    return write_png(4000, 4000, b"", kind=2)[:33] + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def read_cpu_s(server: LiveServer) -> float:
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait_until_busy(server: LiveServer) -> None:
    idle_s = read_cpu_s(server)
    wait_until(lambda: read_cpu_s(server) >= idle_s + 0.05, "it does not begin")


def test_work_ends_with_the_clients_that_wanted_it(victim: Victim, large: bytes) -> None:
    children_s = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    connections = [victim.connect() for _ in range(30)]
    for connection in connections:
        connection.sendall(post(PREDICT, large))
    wait_until_busy(victim.server)
    for connection in connections:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        connection.close()
    left_s = read_cpu_s(victim.server)
    assert victim.server.stop() == 0
    total_s = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]) - children_s
    assert total_s - left_s < 1.0  # all of them take 6


def test_what_is_being_decoded_at_sigterm_is_answered(victim: Victim, large: bytes) -> None:
    with victim.connect() as connection:
        connection.sendall(post(PREDICT, large))
        wait_until_busy(victim.server)
        assert victim.server.stop() == 0
        assert read_reply(connection).status == 200
