"""What is observed of a call, and that nothing is where there is nothing to observe."""

import logging
from collections.abc import AsyncGenerator

import pytest

from core.errors import Overloaded
from monitoring.access_log import AccessLog
from monitoring.tracing.sampling import Sampling
from serving.callers import Callers
from serving.grpc.observed_calls import CallObserver
from serving.settings import ServerSettings
from tests.serving.grpc.open_endpoint import PATIENCE_S, GrpcScene, infer_request, run

IDENTIFIED = (("x-request-id", "r1"),)


async def answer(_requests: object, _context: object) -> None:
    """A handler."""


async def reply() -> AsyncGenerator[bytes, None]:
    yield b"reply"


def find_statuses(caplog: pytest.LogCaptureFixture) -> list[str]:
    lines = [one for one in caplog.records if one.name == "sparing.access"]
    return [line.fields["status"] for line in lines]  # type: ignore[attr-defined]


def test_without_a_log_and_tracing_calls_are_left_as_they_are() -> None:
    observer = CallObserver(None, Callers(ServerSettings()))
    assert observer.call("ModelInfer", answer) is answer
    replies = reply()
    assert observer.stream("ModelStreamInfer", None, "", replies) is replies


def test_an_id_comes_back_beside_what_a_refusal_has_of_its_own() -> None:
    async def test(scene: GrpcScene) -> None:
        scene.engine.failure = Overloaded("full", retry_after_s=3.0)
        refusal = await scene.refusal(infer_request(), metadata=IDENTIFIED)
        assert {("x-request-id", "r1"), ("retry-after", "3")} <= {*refusal.trailing_metadata()}
        scene.engine.failure = None
        call = scene.call("ModelInfer", infer_request(), metadata=IDENTIFIED)
        await call
        assert ("x-request-id", "r1") in [*await call.trailing_metadata()]

    run(test, tracing=Sampling(0.0, lambda _: None))


def test_without_a_log_and_tracing_no_id_comes_back() -> None:
    async def test(scene: GrpcScene) -> None:
        call = scene.call("ModelInfer", infer_request(), metadata=IDENTIFIED)
        await call
        assert [*await call.trailing_metadata()] == []

    run(test)


def test_a_client_that_does_not_wait_has_a_line_too(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def test(scene: GrpcScene) -> None:
        call = scene.call("ModelInfer", infer_request("slow"))
        await scene.engine.wait_for(lambda: bool(scene.engine.requests))
        call.cancel()
        await scene.engine.wait_for(lambda: scene.engine.cancelled == 1)
        await scene.call("ModelInfer", infer_request(), timeout=PATIENCE_S)
        assert sorted(find_statuses(caplog)) == ["CANCELLED", "OK"]

    run(test, access=AccessLog())
