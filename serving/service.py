"""The BentoML service: BentoML's process, port and package; our engine and doors, as its guests.

The only module that imports bentoml. BentoML answers at its own pages, we at ours; what it would
do for every request beside (tracing, metrics, access log, a timeout) is off, because ours is
counted and bounded already. Nothing is told to anybody: its usage reports are off too.
"""

import logging
import os
from functools import partial

import bentoml
from bentoml._internal.utils.analytics import usage_stats
from bentoml.exceptions import BentoMLConfigException

from serving.assembly import StartupError
from serving.process.embedded_server import EmbeddedServer, EmbeddingApp, check_routes
from serving.process.environment import read_environment

DO_NOT_TRACK = "BENTOML_DO_NOT_TRACK"


def _disable_tracking() -> None:
    """Before the first report goes out; BentoML may have looked already, and remembers."""
    os.environ.setdefault(DO_NOT_TRACK, "True")
    usage_stats.do_not_track.cache_clear()


def _make_service() -> "bentoml.Service[object]":
    read = partial(read_environment, os.environ)
    embedded = EmbeddedServer(read)

    class Sparing:
        """Adaptive routes over the Open Inference Protocol: HTTP here, gRPC beside."""

        @bentoml.on_deployment  # type: ignore[untyped-decorator]
        @staticmethod
        def check() -> None:
            """Before any process serves: those that cannot start are started over and over."""
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
        http={"host": "127.0.0.1", "port": 3000},  # unless told otherwise
        tracing={"excluded_urls": ["."]},
        extra_ports=[3001],
    )
    made: bentoml.Service[object] = configured(Sparing)
    made.add_asgi_middleware(EmbeddingApp, embedded=embedded)
    return made


_disable_tracking()
service = _make_service()
