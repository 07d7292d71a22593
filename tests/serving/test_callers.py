"""Who a request is from: tokens, a trusted header, addresses; alike on both endpoints."""

import asyncio
import logging
from typing import Any

import grpc
import grpc.aio
import httpx
import pytest

from core.errors import InvalidInput, Unauthorized
from monitoring.metrics.collector import Metrics
from serving.callers import Caller, Callers, name_address
from serving.grpc.peers import read_address
from serving.http.asgi import AsgiApplication
from serving.http.endpoint import HttpEndpoint
from serving.settings import ServerSettings, Settings, write_settings
from tests.serving.endpoint_client import BRIGHT, INFER
from tests.serving.grpc.open_endpoint import GrpcScene, infer_request, run
from tests.serving.small_engine import SmallEngine

TENANTS: dict[str, Any] = {"tenants": {"shop": "s-token", "lab": "l-token"}}
BY_HEADER: dict[str, Any] = {"tenant_header": "X-Tenant"}


def find(*headers: tuple[str, str], **settings: Any) -> Caller:
    pairs = [(name.encode(), value.encode()) for name, value in headers]
    return Callers(ServerSettings(**settings)).find(pairs, "10.0.0.7")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_a_token_names_the_tenant(scheme: str) -> None:
    found = find(("authorization", f"{scheme} l-token"), **TENANTS, bearer_token="common")
    assert found == Caller("lab", "lab")


def test_the_common_token_names_no_tenant() -> None:
    found = find(("authorization", "Bearer common"), **TENANTS, bearer_token="common")
    assert found == Caller("", "address 10.0.0.7")


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("authorization", "Bearer other"),),
        (("authorization", "s-token"),),
        (("authorization", "Basic s-token"),),
        (("authorization", "Bearer s-token"), ("authorization", "Bearer l-token")),
        (("authorization", "Bearer " + "x" * 5000),),
        (("authorization", "Bearer "),),
    ],
)
def test_without_one_right_token_nobody_is_let_in(headers: tuple[tuple[str, str], ...]) -> None:
    with pytest.raises(Unauthorized) as refusal:
        find(*headers, **TENANTS)
    assert "token" not in str(refusal.value).replace("a token of this server", "")


def test_a_header_names_the_tenant_only_where_the_settings_say_so() -> None:
    assert find(("x-tenant", "shop"), **BY_HEADER) == Caller("shop", "shop")
    assert find(**BY_HEADER) == Caller("", "address 10.0.0.7")
    assert find(("x-tenant", "shop")) == Caller("", "address 10.0.0.7")


def test_a_token_s_tenant_counts_more_than_a_header() -> None:
    headers = ("authorization", "Bearer s-token"), ("x-tenant", "lab")
    assert find(*headers, **TENANTS, **BY_HEADER).tenant == "shop"


@pytest.mark.parametrize("values", [["a", "b"], [""], ["x" * 65], ["address 1"], ["a\u00e9"]])
def test_a_tenant_s_header_is_given_once_and_is_a_name(values: list[str]) -> None:
    with pytest.raises(InvalidInput, match="x-tenant: given"):
        find(*[("x-tenant", value) for value in values], **BY_HEADER)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("192.0.2.1", "address 192.0.2.1"),
        ("::ffff:192.0.2.1", "address 192.0.2.1"),
        ("2001:db8:1:2:3::4", "address 2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "address 2001:db8:1:2::/64"),
        ("", "address "),
        ("x" * 500, "address " + "x" * 64),
    ],
)
def test_an_address_names_a_caller_and_a_block_of_ipv6_is_one(address: str, name: str) -> None:
    assert name_address(address) == name


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:192.0.2.1:4711", "192.0.2.1"),
        ("ipv6:%5B2001:db8::1%5D:4711", "2001:db8::1"),
        ("unix:", "unix:"),
    ],
)
def test_grpc_peers_are_read_without_their_ports(peer: str, address: str) -> None:
    assert read_address(peer) == address


def test_addresses_are_remembered_within_bounds() -> None:
    callers = Callers(ServerSettings())
    names = {callers.of_address(f"10.0.{index // 256}.{index % 256}").name for index in range(3000)}
    assert len(names) == 3000
    assert len(callers._addresses) <= 1024


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"tenants": {"a": "t", "b": "t"}}, "the same token"),
        ({"tenants": {"a": "t"}, "bearer_token": "t"}, "the same token"),
        ({"tenants": {"a": ""}}, "visible ASCII"),
        ({"tenants": {"a": "two words"}}, "visible ASCII"),
        ({"tenants": {"a b": "t"}}, "pattern"),
        ({"tenants": {f"t{index}": f"token{index}" for index in range(257)}}, "256"),
        ({"tenant_header": "no header"}, "pattern"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as refusal:
        ServerSettings(**settings)
    assert "two words" not in str(refusal.value)


def test_tokens_are_not_printed_and_reach_other_processes() -> None:
    settings = Settings(server=ServerSettings(**TENANTS))
    assert "s-token" not in repr(settings) + str(settings)
    assert Settings.model_validate_json(write_settings(settings)) == settings


def ask(engine: SmallEngine, address: str, headers: dict[str, str], **settings: Any) -> int:
    async def visit() -> int:
        endpoint = HttpEndpoint(engine, ServerSettings(**settings), Metrics())
        transport = httpx.ASGITransport(AsgiApplication(endpoint), client=(address, 4711))
        async with httpx.AsyncClient(transport=transport, base_url="http://endpoint") as client:
            return (await client.post(INFER, content=BRIGHT, headers=headers)).status_code

    return asyncio.run(visit())


def test_an_http_request_carries_its_tenant_and_caller() -> None:
    engine = SmallEngine()
    assert ask(engine, "10.0.0.7", {}) == 200
    assert ask(engine, "10.0.0.7", {"authorization": "bearer s-token"}, **TENANTS) == 200
    assert ask(engine, "10.0.0.8", {"X-Tenant": "lab"}, **BY_HEADER) == 200
    assert ask(engine, "10.0.0.8", {"X-Tenant": "l/ab"}, **BY_HEADER) == 400
    assert ask(engine, "10.0.0.8", {"authorization": "Bearer x"}, **TENANTS) == 401
    assert [(one.tenant, one.caller) for one in engine.requests] == [
        ("", "address 10.0.0.7"),
        ("shop", "shop"),
        ("lab", "lab"),
    ]


def test_a_grpc_call_carries_its_tenant_and_caller(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    async def test(scene: GrpcScene) -> None:
        metadata = (("authorization", "BEARER s-token"),)
        await scene.call("ModelInfer", infer_request(), metadata=metadata)
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await scene.call(
                "ModelInfer", infer_request(), metadata=(("authorization", "Bearer x"),)
            )
        assert refusal.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert [(one.tenant, one.caller) for one in scene.engine.requests] == [("shop", "shop")]

    run(test, **TENANTS)
    assert "s-token" not in caplog.text


def test_a_grpc_caller_without_a_tenant_is_its_address() -> None:
    async def test(scene: GrpcScene) -> None:
        for _ in range(2):  # the second is a message that comes again
            await scene.answered()
        assert {(one.tenant, one.caller) for one in scene.engine.requests} == {
            ("", "address 127.0.0.1")
        }

    run(test)


def test_other_tokens_are_accepted_from_the_change_on() -> None:
    callers = Callers(ServerSettings(), {"old": ""})
    assert callers.authorize([(b"authorization", b"Bearer old")]) == ""
    callers.use_tokens({"new": "shop"})
    assert callers.authorize([(b"authorization", b"Bearer new")]) == "shop"
    with pytest.raises(Unauthorized):
        callers.authorize([(b"authorization", b"Bearer old")])
