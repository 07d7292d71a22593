"""A server whose files change: tokens, and the address of its Redis, without a restart."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from harness.services.redis_server import RedisServer
from harness.tiny_routes import write_route
from harness.waiting import until
from serving.assembly import Assembly, StartupError, assemble
from serving.configuration.watched_files import LOOK_INTERVAL_S
from serving.settings import Settings
from tests.servers.certificates import make_certificate


def replace(path: Path, text: str) -> None:
    """Write a file as a tool does that changes secrets: whole, and with another inode."""
    fresh = path.with_suffix(".fresh")
    fresh.write_text(text)
    os.replace(fresh, path)


def serve(
    tmp_path: Path, use: Callable[[Assembly], Awaitable[None]], **sections: dict[str, Any]
) -> None:
    write_route(tmp_path / "models")

    async def main() -> None:
        settings = Settings.model_validate(
            {
                "routes": {"directories": [tmp_path / "models"]},
                "energy": {"source": "none"},
                **sections,
                "server": {"grpc_port": 0, "drain_s": 0, **sections.get("server", {})},
            }
        )
        async with assemble(settings) as assembly:
            await use(assembly)
            await assembly.end_drain()

    asyncio.run(main())


def test_a_rotated_token_works_without_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("old\n")

    async def use(assembly: Assembly) -> None:
        callers = assembly.web._callers

        def accepts(token: bytes) -> bool:
            return callers._hash(token) in callers._tenants

        assert accepts(b"old")
        replace(path, "new\n")
        await until(lambda: accepts(b"new"))
        assert not accepts(b"old")
        assert assembly._grpc._callers is callers

    serve(tmp_path, use, server={"bearer_token_file": str(path)})
    assert LOOK_INTERVAL_S <= 2.0


def test_a_changed_url_of_the_redis_is_used_without_a_restart(tmp_path: Path) -> None:
    path, password = tmp_path / "url", tmp_path / "password"
    with RedisServer("--requirepass", "word") as first, RedisServer("--requirepass", "word") as two:
        path.write_text(first.url)
        password.write_text("word")

        async def use(assembly: Assembly) -> None:
            assert assembly.engine.lookup is not None
            tier = assembly.engine.lookup.tier

            def ports() -> set[int]:
                links: list[Any] = tier._connections  # type: ignore[attr-defined]
                return {(one._next or one._connection).port for one in links}

            assert ports() == {first.port}
            replace(path, two.url)
            await until(lambda: ports() == {two.port})
            assert await tier.look_up([b"k" * 16], 5.0) == [None]

        remote = {
            "url_file": str(path),
            "password_file": str(password),
            "secret": "0123456789abcdef" * 4,
        }
        serve(tmp_path, use, cache={"remote": remote})


def test_a_changed_certificate_is_used_without_a_restart(tmp_path: Path) -> None:
    used, other = [make_certificate(tmp_path, name) for name in ("used", "other")]

    async def use(assembly: Assembly) -> None:
        assert assembly.tls is not None
        assert assembly.tls.certificate == used.read()
        used.replace(other)
        changed = assembly.tls
        await until(lambda: changed.certificate == other.read())
        credentials = grpc.ssl_channel_credentials(other.chain.read_bytes())
        async with grpc.aio.secure_channel(assembly.grpc_address, credentials) as channel:
            await channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=20.0)

    files = {"tls_certificate_file": str(used.chain), "tls_key_file": str(used.key)}
    serve(tmp_path, use, server=files)


def test_a_key_that_grpc_cannot_use_is_told_as_what_may_be_wrong(tmp_path: Path) -> None:
    async def use(_: Assembly) -> None:
        raise AssertionError("it started")

    odd = make_certificate(tmp_path, "odd", kind=["ed448"])
    files = {"tls_certificate_file": str(odd.chain), "tls_key_file": str(odd.key)}
    with pytest.raises(StartupError, match="key of the certificate's kind"):
        serve(tmp_path, use, server=files)


@pytest.mark.parametrize(
    ("section", "setting"),
    [
        (
            {"server": {"bearer_token_file": "/absent"}},
            "server.bearer_token_file: /absent: No such",
        ),
        ({"server": {"tenants_file": "/"}}, "server.tenants_file: /: "),
        (
            {"server": {"tls_certificate_file": "/absent", "tls_key_file": "/absent"}},
            "server.tls_certificate_file: /absent: No such",
        ),
        (
            {"cache": {"remote": {"url_file": "/absent", "secret": "x" * 32}}},
            "cache.remote.url_file: /absent: No such",
        ),
    ],
)
def test_a_file_that_cannot_be_read_stops_the_start(
    tmp_path: Path, section: dict[str, Any], setting: str
) -> None:
    async def use(_: Assembly) -> None:
        raise AssertionError("it started")

    with pytest.raises(StartupError, match=f"^{setting}"):
        serve(tmp_path, use, **section)
