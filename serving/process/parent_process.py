"""Whoever keeps a serving process: gives it its place, hears how it goes, and may end it.

Here the keeper of a server that is alone, which is its terminal; a worker's is its supervisor, in
`serving.process.worker_main`.
"""

import asyncio
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from core.one_line import one_line
from monitoring.metrics.collector import Metrics
from monitoring.metrics.switched_off import NoMetrics
from serving.process.ports import listen_alone


@dataclass(frozen=True, slots=True)
class Started:
    """What a server says when its doors are open."""

    routes: str
    host: str
    http_port: int
    grpc_port: int

    def describe(self, processes: str) -> str:
        return (
            f"Sparing serves {self.routes}\n"
            f"  HTTP  http://{self.host}:{self.http_port}   gRPC  {self.host}:{self.grpc_port}"
            f"   ({processes})"
        )


FindFault = Callable[[], str]  # what of the process is stuck, in a sentence; empty: nothing


class ParentProcess(Protocol):
    """Asked in this order: `listen`, then `report_failure` and the end, or `report_ready`."""

    worker: int  # its number among processes that share their ports; 0: it is alone

    def listen(self, host: str, port: int) -> socket.socket:
        """The HTTP door's socket. Raises OSError."""

    def report_failure(self, why: str) -> None:
        """The process ends before it has served; `why` is one sentence."""

    async def report_ready(
        self,
        started: Started,
        metrics: Metrics | NoMetrics,
        stop: asyncio.Event,
        find_fault: FindFault,
    ) -> None:
        """Hear that it serves, and keep in touch; `stop` may be set to end it."""


class Terminal:
    """Keeps a server that is its only process."""

    worker = 0

    def listen(self, host: str, port: int) -> socket.socket:
        return listen_alone(host, port)

    def report_failure(self, why: str) -> None:
        print(f"sparing: {one_line(why)}", file=sys.stderr, flush=True)

    async def report_ready(
        self,
        started: Started,
        metrics: Metrics | NoMetrics,
        stop: asyncio.Event,
        find_fault: FindFault,
    ) -> None:
        print(started.describe(f"process {os.getpid()}"), flush=True)
