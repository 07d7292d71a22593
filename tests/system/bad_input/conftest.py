"""A server that is sent bad input, one for each module, and a caller of its gRPC endpoint."""

from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from tests.clients.bad_calls import Caller
from tests.clients.bad_input import Victim, serve_victim


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    with serve_victim(tmp_path_factory.mktemp("models")) as found:
        yield found


@pytest.fixture(scope="module")
def channel(victim: Victim) -> Iterator[Any]:
    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(victim.server.grpc_address, options=options) as opened:
        yield opened


@pytest.fixture
def caller(victim: Victim, channel: Any) -> Caller:
    return Caller(victim, channel)
