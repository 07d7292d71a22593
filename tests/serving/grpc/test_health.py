"""The states that a watch of gRPC's health protocol reports."""

import asyncio

from grpc_health.v1 import health_pb2

from serving.grpc.health import Health


def read_state(raw: bytes) -> int:
    status: int = health_pb2.HealthCheckResponse.FromString(raw).status
    return status


def test_a_watch_reports_draining_that_began_while_a_state_was_sent() -> None:
    async def main() -> list[int]:
        draining = asyncio.Event()
        states = []
        async for state in Health(draining, lambda: True).watch(b""):
            states.append(read_state(state))
            draining.set()
        return states

    response = health_pb2.HealthCheckResponse
    assert asyncio.run(main()) == [response.SERVING, response.NOT_SERVING]
