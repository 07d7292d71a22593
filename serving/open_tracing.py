"""Opens tracing if the settings enable it; only then is the OpenTelemetry library imported."""

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
    """Tracing for the endpoints, and a function that ends it after they are closed."""

    tracing: Tracing
    close: Callable[[], Awaitable[None]]  # waits a few seconds at most for the last spans


def open_tracing(settings: TracingSettings) -> Opened:
    """Return tracing as the settings ask for it. Raises ValueError, with one sentence, if it cannot
    be opened.
    """
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
