"""Probes look at progress: rows that wait while no batch ends make the server not ready, then not
live.
"""

import logging

import httpx
import pytest
from grpc_health.v1 import health_pb2
from tritonclient.grpc import service_pb2

from serving.scheduling.progress import HEALTHY, Health, Progress
from tests.fakes.toys import ToyStage, ask, cascade, final, serve_toy
from tests.serving.endpoint_client import visit
from tests.serving.grpc.open_endpoint import GrpcScene, run
from tests.serving.scheduling.stepped import Stepped
from tests.serving.small_engine import SmallEngine

STUCK = "rows wait and no batch has ended for 11 s, stage only of route toy is stuck"


def make_stepped() -> Stepped:
    return Stepped(serve_toy(ToyStage("only", lambda x: final(x, "only"))))


def test_a_batch_that_does_not_end_is_told_and_recovers(caplog: pytest.LogCaptureFixture) -> None:
    stepped = make_stepped()
    stepped.submit(ask(1))
    stepped.spin()  # the batch is on the device now
    stepped.clock.now += 9.0
    assert stepped.engine.health() == HEALTHY
    stepped.clock.now += 2.0
    assert stepped.engine.health() == Health(ready=False, live=True, why=STUCK)
    stepped.clock.now += 10.0
    assert not stepped.engine.health().live
    assert stepped.finish() == ["ok"]
    assert stepped.engine.health() == HEALTHY
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
    assert "stage only of route toy" in caplog.text


def test_a_stall_is_logged_without_a_probe(caplog: pytest.LogCaptureFixture) -> None:
    stepped = make_stepped()
    stepped.spin()
    stepped.submit(ask(1))
    stepped.spin()
    for _ in range(12):
        stepped.clock.now += 2.5
        stepped.spin()
    assert len(caplog.records) == 1


def test_a_process_that_was_suspended_says_nothing_wrong(caplog: pytest.LogCaptureFixture) -> None:
    stepped = make_stepped()
    stepped.spin()
    stepped.submit(ask(1))
    stepped.spin()
    for suspended_s in (3600.0, 2.5, 3600.0, 2.5):
        stepped.clock.now += suspended_s
        stepped.spin()
        assert stepped.engine.health() == HEALTHY
    stepped.clock.now += 2.5
    stepped.spin()
    stepped.clock.now += 2.5
    stepped.spin()
    assert not stepped.engine.health().ready  # all other time counts
    assert len(caplog.records) == 1


def test_a_server_without_work_is_healthy_for_ever() -> None:
    stepped = make_stepped()
    stepped.submit(ask(1))
    stepped.finish()
    stepped.clock.now += 1e6
    assert stepped.engine.health() == HEALTHY
    stepped.submit(ask(2))
    assert stepped.engine.health() == HEALTHY


def test_rows_that_get_no_batch_are_a_stall_too() -> None:
    stepped = make_stepped()
    stepped.submit(ask(1))
    stepped.loop.ready.clear()  # as if the pump had died
    stepped.clock.now += 11.0
    assert stepped.engine.health().why == STUCK


def test_batches_that_are_predicted_to_be_long_get_their_time() -> None:
    served = serve_toy(*cascade())
    progress = Progress(10.0)
    progress.begin(0.0, batch_s=20.0)
    assert progress.judge(served.entry, 89.0) == HEALTHY
    assert not progress.judge(served.entry, 91.0).ready


def test_endless_batches_are_progress(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    stepped = make_stepped()
    for value in range(20):
        stepped.submit(ask(value))
        stepped.spin()
        stepped.clock.now += 9.0
        stepped.end_batch()
        assert stepped.engine.health() == HEALTHY
    assert not caplog.records


@pytest.mark.parametrize("live", [True, False])
def test_http_probes_say_that_work_is_stuck(live: bool) -> None:
    async def script(client: httpx.AsyncClient, engine: SmallEngine) -> None:
        engine.state = Health(ready=False, live=live, why="stuck")
        for path in ("/readyz", "/v2/health/ready", "/v2/models/small/ready"):
            answer = await client.get(path)
            assert (answer.status_code, answer.json()["error"]) == (503, "stuck")
        for path in ("/livez", "/v2/health/live"):
            answer = await client.get(path)
            assert answer.status_code == (200 if live else 503)
            assert answer.json()["live"] is live
        engine.state = HEALTHY
        assert (await client.get("/readyz")).status_code == 200

    visit(script)


def test_grpc_probes_say_that_work_is_stuck() -> None:
    check = health_pb2.HealthCheckRequest().SerializeToString()

    async def test(scene: GrpcScene) -> None:
        for state, status in (
            (Health(ready=False, live=True, why="stuck"), "NOT_SERVING"),
            (Health(ready=False, live=False, why="stuck"), "NOT_SERVING"),
            (HEALTHY, "SERVING"),
        ):
            scene.engine.state = state
            live = await scene.call("ServerLive", service_pb2.ServerLiveRequest())
            ready = await scene.call("ServerReady", service_pb2.ServerReadyRequest())
            model = await scene.call("ModelReady", service_pb2.ModelReadyRequest(name="sum"))
            assert service_pb2.ServerLiveResponse.FromString(live).live is state.live
            assert service_pb2.ServerReadyResponse.FromString(ready).ready is state.ready
            assert service_pb2.ModelReadyResponse.FromString(model).ready is state.ready
            told = await scene.channel.unary_unary("/grpc.health.v1.Health/Check")(check)
            found = health_pb2.HealthCheckResponse.FromString(told).status
            assert found == health_pb2.HealthCheckResponse.ServingStatus.Value(status)

    run(test)
