"""Options of the gRPC library, and what the endpoint refuses by name; data only."""

import math
from collections.abc import Mapping

from serving.oip.statistics import READ_ONLY
from serving.settings import ServerSettings

NO_TOKEN = "metadata authorization: missing or wrong, allowed 'Bearer <token>'"
NO_SHARED_MEMORY = "shared memory: this server does not offer it, send tensors in the request"
# Methods of Triton that clients call and this server does not offer.
REFUSED_METHODS: Mapping[str, str] = {
    "RepositoryModelLoad": READ_ONLY,
    "RepositoryModelUnload": READ_ONLY,
    **{
        f"{kind}SharedMemory{deed}": NO_SHARED_MEMORY
        for kind in ("System", "Cuda")
        for deed in ("Status", "Register", "Unregister")
    },
}

_NEVER_MS = 2**31 - 1
_HANDSHAKE_TIMEOUT_MS = 10_000
_KEEPALIVE_TIMEOUT_MS = 20_000


def list_options(settings: ServerSettings, shares_port: bool) -> list[tuple[str, int]]:
    """Return the library's options. It has no value for "never", which a setting of 0 seconds
    means.
    """
    options = [
        ("grpc.so_reuseport", int(shares_port)),
        ("grpc.max_receive_message_length", settings.max_body_bytes),
        ("grpc.compression_enabled_algorithms_bitset", 1),  # identity only
        ("grpc.max_concurrent_streams", settings.grpc_max_concurrent_streams),
        ("grpc.server_handshake_timeout_ms", _HANDSHAKE_TIMEOUT_MS),
        ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        (
            "grpc.http2.min_ping_interval_without_data_ms",
            round(settings.grpc_min_ping_interval_s * 1e3),
        ),
    ]
    for name, value_s in (
        ("grpc.max_connection_idle_ms", settings.grpc_max_connection_idle_s),
        ("grpc.max_connection_age_ms", settings.grpc_max_connection_age_s),
        ("grpc.keepalive_time_ms", settings.grpc_keepalive_s),
    ):
        options.append((name, math.ceil(value_s * 1e3) or _NEVER_MS))
    return options
