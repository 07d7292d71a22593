"""Clients that stall, stop sending or stop reading, over real sockets."""

import json
import socket
import struct
from pathlib import Path

from harness.live_server import LiveServer
from harness.tiny_routes import write_route
from harness.waiting import wait_until
from tests.clients.bad_input import GOOD, post
from tests.fakes.stalling import make_staller, write_stalling_route

INFER = "/v2/models/tiny/infer"
WHOLE = post(INFER, json.dumps(GOOD).encode())
BIG_PAGE = b"GET /openapi.json HTTP/1.1\r\nhost: t\r\n\r\n"


def read_all(connection: socket.socket) -> bytes:
    got = b""
    while more := connection.recv(65536):
        got += more
    return got


def test_a_client_that_sends_no_more_gets_its_answers(tmp_path: Path) -> None:
    write_route(tmp_path)
    with LiveServer(tmp_path) as server:
        for requests in (1, 3):
            with socket.create_connection(("127.0.0.1", server.http_port), timeout=10) as client:
                client.sendall(WHOLE * requests)
                client.shutdown(socket.SHUT_WR)
                assert read_all(client).count(b"HTTP/1.1 200 OK") == requests


def test_a_client_that_resets_after_it_sent_its_last_byte_cancels_its_call(tmp_path: Path) -> None:
    write_stalling_route(tmp_path)
    tensor = {**GOOD["inputs"][0], "data": make_staller().ravel().tolist()}
    body = json.dumps({**GOOD, "inputs": [tensor]}).encode()
    with LiveServer(tmp_path) as server:
        for half_closes in (True, False):
            gone = server.metric("sparing_requests_total", result="ClientGone")
            client = socket.create_connection(("127.0.0.1", server.http_port), timeout=10)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.sendall(post(INFER, body))
            if half_closes:
                client.shutdown(socket.SHUT_WR)
            server.get("/livez")  # it has arrived
            client.close()
            wait_until(
                lambda: server.metric("sparing_requests_total", result="ClientGone") > gone,  # noqa: B023
                "the call was cancelled",
            )


def test_a_shutdown_waits_for_nobody_who_stalls(tmp_path: Path) -> None:
    settings = "[server]\ndrain_timeout_s = 600.0\n"
    write_route(tmp_path)
    kinds = [
        b"",
        WHOLE[:10],
        WHOLE[:60],
        WHOLE[:-5],
        post("/v1/routes/tiny/predict", b"\x89PNG", content_length=1000),
        post("/nowhere", b"x", content_length=1000),
        BIG_PAGE * 500,  # of whose answers none is read
    ]
    with LiveServer(tmp_path, settings) as server:
        clients = []
        for kind in kinds:
            client = socket.create_connection(("127.0.0.1", server.http_port), timeout=10)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.sendall(kind)
            clients.append(client)
        server.get("/livez")  # all of it has arrived
        assert server.stop(60.0) == 0
        log = server.log.read_text()
        assert "Traceback" not in log
        assert "graceful" not in log
        for client in clients:
            client.close()
