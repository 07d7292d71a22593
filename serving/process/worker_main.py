"""A worker process, the peer of its supervisor: `python -m serving.process.worker_main FD`.

FD is one end of `serving.process.pipe`. If that channel breaks, the supervisor is gone, and the
worker drains and ends.
"""

import asyncio
import contextlib
import socket
import sys

import core.devices.no_telemetry  # noqa: F401
from core.errors import Overloaded, RouteUnavailable
from monitoring.log_limit import configure_logging
from monitoring.metrics.collector import Metrics
from monitoring.metrics.snapshot import pack
from monitoring.metrics.switched_off import NoMetrics
from serving.process.host import run
from serving.process.parent_process import FindFault, Started
from serving.process.pipe import Message, open_pipe, read_message, read_pipe, tell, write_message
from serving.process.ports import share
from serving.settings import Settings

_MAX_PENDING_REQUESTS = 16  # for sums, under way at once
_ANSWER_TIMEOUT_S = 5.0


class Supervisor:
    """The parent of a worker: its supervisor, at the other end of the channel."""

    def __init__(self, line: socket.socket, worker: int) -> None:
        self.worker = worker
        self._pipe = line
        self._writer: asyncio.StreamWriter
        self._requests: dict[int, asyncio.Future[bytes]] = {}
        self._asked = 0

    def listen(self, host: str, port: int) -> socket.socket:
        return share(host, port)

    def report_failure(self, why: str) -> None:
        with contextlib.suppress(OSError):  # the supervisor is gone: there is no reader
            self._pipe.sendall(write_message({"kind": "refused", "why": why}))

    async def report_ready(
        self,
        started: Started,
        metrics: Metrics | NoMetrics,
        stop: asyncio.Event,
        find_fault: FindFault,
    ) -> None:
        reader, self._writer = await open_pipe(self._pipe)
        metrics.set_scraper(self._request_sums)
        tell(self._writer, {"kind": "ready", "routes": started.routes})
        self._report_counts(metrics)  # from now on its start is counted
        try:
            while (message := await read_message(reader)) is not None:
                self._handle_message(message, metrics, find_fault)
        finally:
            stop.set()
            self._report_counts(metrics)  # the last counts

    def _handle_message(
        self, message: Message, metrics: Metrics | NoMetrics, find_fault: FindFault
    ) -> None:
        if message["kind"] == "check":
            tell(self._writer, {"kind": "alive", "stuck": find_fault()})
        elif message["kind"] == "count":
            self._report_counts(metrics)
        elif message["kind"] == "sums":
            question = self._requests.get(message["number"])
            if question is not None and not question.done():
                question.set_result(message["text"].encode())

    def _report_counts(self, metrics: Metrics | NoMetrics) -> None:
        tell(self._writer, {"kind": "counts", "counts": pack(metrics.snapshot())})

    async def _request_sums(self) -> bytes:
        """Return one scrape for all workers together."""
        if len(self._requests) >= _MAX_PENDING_REQUESTS:
            raise Overloaded(f"{_MAX_PENDING_REQUESTS} scrapes are under way; try again")
        self._asked += 1
        number = self._asked
        question = self._requests[number] = asyncio.get_running_loop().create_future()
        try:
            tell(self._writer, {"kind": "sum", "number": number})
            return await asyncio.wait_for(question, _ANSWER_TIMEOUT_S)
        except TimeoutError as error:
            raise RouteUnavailable("the workers could not be counted in time; try again") from error
        finally:
            del self._requests[number]


def main() -> None:
    line = socket.socket(fileno=int(sys.argv[1]))
    line.set_inheritable(False)
    with line.makefile("rb", buffering=0) as file:  # unbuffered: the rest is read later
        first = file.readline()
    if not first:
        sys.exit(1)  # the supervisor has already gone
    message = read_pipe(first)
    settings = Settings.model_validate_json(message["settings"])
    configure_logging(message["log_level"], message["number"], settings.log.format)
    sys.exit(run(settings, Supervisor(line, message["number"])))


if __name__ == "__main__":
    main()
