"""The BentoML service: BentoML's process, port and package around this project's engine.

The only module that imports bentoml. BentoML answers its own pages, this project's endpoints answer
theirs. BentoML's tracing, metrics, access log and timeout for each request are off, because this
project already counts and bounds requests. BentoML's usage reports are off too.
"""

import logging
import os
from functools import partial

import bentoml
from bentoml._internal.utils.analytics import usage_stats
from bentoml.exceptions import BentoMLConfigException

import core.devices.no_telemetry  # noqa: F401
from serving.assembly import StartupError
from serving.process.embedded_server import EmbeddedServer, EmbeddingApp, check_routes
from serving.process.environment import read_environment

DO_NOT_TRACK = "BENTOML_DO_NOT_TRACK"


def _disable_tracking() -> None:
    """Switch usage reports off before the first; BentoML may have cached the setting."""
    os.environ.setdefault(DO_NOT_TRACK, "True")
    usage_stats.do_not_track.cache_clear()


def _make_service() -> "bentoml.Service[object]":
    read = partial(read_environment, os.environ)
    embedded = EmbeddedServer(read)

    class Sparing:
        """Adaptive routes over the Open Inference Protocol: HTTP on BentoML's port, gRPC on its
        own.
        """

        @bentoml.on_deployment  # type: ignore[untyped-decorator]
        @staticmethod
        def check() -> None:
            """Check the settings once, before any worker starts: BentoML restarts a failing worker
            forever.
            """
            try:
                check_routes(read)
            except StartupError as error:
                raise BentoMLConfigException(str(error)) from error

        @bentoml.on_startup  # type: ignore[untyped-decorator]
        async def open(self) -> None:
            logging.getLogger("sparing").setLevel(logging.INFO)
            await embedded.open()

        @bentoml.on_shutdown  # type: ignore[untyped-decorator]
        async def close(self) -> None:
            await embedded.close()

    configured = bentoml.service(
        name="sparing",
        workers=1,  # an engine has one cache and one device; scale by Bentos
        metrics={"enabled": False},
        logging={"access": {"enabled": False}},
        http={"host": "127.0.0.1", "port": 3000},  # unless BentoML's own options say otherwise
        tracing={"excluded_urls": ["."]},
        extra_ports=[3001],
    )
    made: bentoml.Service[object] = configured(Sparing)
    made.add_asgi_middleware(EmbeddingApp, embedded=embedded)
    return made


_disable_tracking()
service = _make_service()
