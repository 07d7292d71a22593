"""Opens tracing where the settings switch it on; the library is imported only then."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import NamedTuple

from monitoring.tracing.sampling import NO_TRACING, Sampling, Tracing
from serving.settings import TracingSettings

MISSING = (
    "tracing.enabled: given true, but OpenTelemetry is not installed; "
    "install the extra `tracing` of this package"
)


class Opened(NamedTuple):
    """For the doors, and how to end it when they are closed."""

    tracing: Tracing
    close: Callable[[], Awaitable[None]]  # waits for the last spans, for seconds at the most


def open_tracing(settings: TracingSettings) -> Opened:
    """Raises ValueError with one sentence where it cannot be had."""
    if not settings.enabled:
        return Opened(NO_TRACING, _nothing)
    try:
        from monitoring.tracing.otlp_exporter import open_sender
    except ModuleNotFoundError as error:
        raise ValueError(MISSING) from error
    sender = open_sender(settings.endpoint)
    return Opened(
        Sampling(settings.sample_ratio, sender.take), partial(asyncio.to_thread, sender.close)
    )


async def _nothing() -> None:
    pass
