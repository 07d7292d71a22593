"""The interface between a serving process and its parent, which opens its socket and may end it.

This module has the parent of a single server, its terminal. The parent of a worker is its
supervisor, in `serving.process.worker_main`.
"""

import asyncio
import logging
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Protocol

from core.one_line import one_line
from monitoring.log_limit import UNLIMITED
from monitoring.log_lines import LogFormat
from monitoring.metrics.collector import Metrics
from monitoring.metrics.switched_off import NoMetrics
from serving.process.ports import listen_alone

_log = logging.getLogger("sparing")


@dataclass(frozen=True, slots=True)
class Started:
    """The facts that a server reports when its endpoints are open."""

    routes: str
    host: str
    http_port: int
    grpc_port: int
    is_tls: bool = False

    def describe(self, processes: str) -> str:
        """Return the lines that the terminal shows; `processes` lists the process ids."""
        scheme = "https" if self.is_tls else "http"
        return (
            f"Sparing serves {self.routes}\n"
            f"  HTTP  {scheme}://{self.host}:{self.http_port}   gRPC  {self.host}:{self.grpc_port}"
            f"   ({processes})"
        )


FindFault = Callable[[], str]  # a sentence that says what is stuck in the process; empty: nothing


class ParentProcess(Protocol):
    """The parent of a serving process. Call `listen`, then `report_failure` or `report_ready`."""

    worker: int  # number among processes that share their ports; 0: alone

    def listen(self, host: str, port: int) -> socket.socket:
        """Return the socket of the HTTP endpoint. Raises OSError."""

    def report_failure(self, why: str) -> None:
        """Report, in one sentence, why the process ends before it has served."""

    async def report_ready(
        self,
        started: Started,
        metrics: Metrics | NoMetrics,
        stop: asyncio.Event,
        find_fault: FindFault,
    ) -> None:
        """Report that the process serves, and stay in touch; setting `stop` ends it."""


class Terminal:
    """The parent of a server that is a single process."""

    worker = 0

    def __init__(self, log_format: LogFormat = "text") -> None:
        self._log_format = log_format

    def listen(self, host: str, port: int) -> socket.socket:
        return listen_alone(host, port)

    def report_failure(self, why: str) -> None:
        print_failure(why, self._log_format)

    async def report_ready(
        self,
        started: Started,
        metrics: Metrics | NoMetrics,
        stop: asyncio.Event,
        find_fault: FindFault,
    ) -> None:
        print_start(started, f"process {os.getpid()}", self._log_format)


def print_failure(why: str, log_format: LogFormat) -> None:
    """Print why the server ends: one line, or a record of a log in JSON."""
    if log_format == "json":
        _log.error("%s", why, extra=UNLIMITED)
    else:
        print(f"sparing: {one_line(why)}", file=sys.stderr, flush=True)


def print_start(started: Started, processes: str, log_format: LogFormat) -> None:
    """Print what the server serves, or log it in JSON."""
    if log_format == "json":
        fields = {**asdict(started), "processes": processes}
        _log.info("serving", extra={**UNLIMITED, "fields": fields})
    else:
        print(started.describe(processes), flush=True)
