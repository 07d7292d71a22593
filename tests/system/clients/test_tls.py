"""A real server with a certificate: both endpoints, in one process and in two."""

import ssl
from pathlib import Path

import grpc
import httpx
import pytest

from harness.live_server import LiveServer
from harness.tiny_routes import write_route
from harness.waiting import wait_until
from tests.clients.load import BODIES
from tests.servers.certificates import Pair, make_certificate

INFER = "/v2/models/tiny/infer"


def ask(server: LiveServer, trusted: Pair) -> int:
    """The status over a new connection. Raises ConnectError if the certificate is another one."""
    context = ssl.create_default_context(cafile=trusted.chain)
    url = server.url.replace("http:", "https:") + INFER
    return httpx.post(url, content=BODIES[0], verify=context).status_code


def is_served(server: LiveServer, trusted: Pair) -> bool:
    try:
        return ask(server, trusted) == 200
    except httpx.ConnectError:
        return False


def is_healthy(server: LiveServer, trusted: Pair) -> bool:
    credentials = grpc.ssl_channel_credentials(trusted.chain.read_bytes())
    with grpc.secure_channel(server.grpc_address, credentials) as channel:
        try:
            channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=20.0)
        except grpc.RpcError:
            return False
    return True


@pytest.mark.parametrize("workers", [1, 2])
def test_both_endpoints_use_the_certificate_and_follow_its_files(
    tmp_path: Path, workers: int
) -> None:
    write_route(tmp_path / "models")
    used, other = [make_certificate(tmp_path, name) for name in ("used", "other")]
    first = Pair(tmp_path / "first.crt", tmp_path / "first.key")
    first.replace(used)
    settings = f"""
    [server]
    tls_certificate_file = "{used.chain}"
    tls_key_file = "{used.key}"
    [workers]
    count = {workers}
    """
    with LiveServer(tmp_path / "models", settings) as server:
        assert f"https://127.0.0.1:{server.http_port}" in server.log.read_text()
        assert ask(server, first) == 200
        assert is_healthy(server, first)
        with pytest.raises(httpx.TransportError):
            httpx.get(server.url + "/livez")
        used.replace(other)
        wait_until(lambda: is_served(server, other), "HTTP does not follow")
        wait_until(lambda: is_healthy(server, other), "gRPC does not follow")
        assert server.stop() == 0
        assert "Traceback" not in server.log.read_text()
