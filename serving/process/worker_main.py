"""A worker's side of its supervisor: `python -m serving.process.worker_main FD`.

FD is an end of `serving.process.pipe`. That is the worker's lifeline too: when it breaks, the
supervisor is gone, and the worker drains and ends.
"""

import asyncio
import contextlib
import socket
import sys

from core.errors import Overloaded, RouteUnavailable
from monitoring.log_limit import configure_logging
from monitoring.metrics.collector import Metrics
from monitoring.metrics.snapshot import pack
from monitoring.metrics.switched_off import NoMetrics
from serving.process.host import run
from serving.process.parent_process import FindFault, Started
from serving.process.pipe import Message, open_line, read_line, read_message, tell, write_message
from serving.process.ports import share
from serving.settings import Settings

_MAX_QUESTIONS = 16  # for sums, under way at once
_ANSWER_TIMEOUT_S = 5.0


class Supervisor:
    """The keeper of a worker."""

    def __init__(self, line: socket.socket, worker: int) -> None:
        self.worker = worker
        self._line = line
        self._writer: asyncio.StreamWriter
        self._questions: dict[int, asyncio.Future[bytes]] = {}
        self._asked = 0

    def listen(self, host: str, port: int) -> socket.socket:
        return share(host, port)

    def refuse(self, why: str) -> None:
        with contextlib.suppress(OSError):  # it is gone: nobody is left to be told
            self._line.sendall(write_message({"kind": "refused", "why": why}))

    async def attend(
        self,
        started: Started,
        metrics: Metrics | NoMetrics,
        stop: asyncio.Event,
        find_fault: FindFault,
    ) -> None:
        reader, self._writer = await open_line(self._line)
        metrics.scrape_by(self._ask_sums)
        tell(self._writer, {"kind": "ready", "routes": started.routes})
        self._tell_counts(metrics)  # that it has begun is counted from now on
        try:
            while (message := await read_message(reader)) is not None:
                self._hear(message, metrics, find_fault)
        finally:
            stop.set()
            self._tell_counts(metrics)  # the last ones

    def _hear(self, message: Message, metrics: Metrics | NoMetrics, find_fault: FindFault) -> None:
        if message["kind"] == "check":
            tell(self._writer, {"kind": "alive", "stuck": find_fault()})
        elif message["kind"] == "count":
            self._tell_counts(metrics)
        elif message["kind"] == "sums":
            question = self._questions.get(message["number"])
            if question is not None and not question.done():
                question.set_result(message["text"].encode())

    def _tell_counts(self, metrics: Metrics | NoMetrics) -> None:
        tell(self._writer, {"kind": "counts", "counts": pack(metrics.snapshot())})

    async def _ask_sums(self) -> bytes:
        """A scrape of all workers together."""
        if len(self._questions) >= _MAX_QUESTIONS:
            raise Overloaded(f"{_MAX_QUESTIONS} scrapes are under way; try again")
        self._asked += 1
        number = self._asked
        question = self._questions[number] = asyncio.get_running_loop().create_future()
        try:
            tell(self._writer, {"kind": "sum", "number": number})
            return await asyncio.wait_for(question, _ANSWER_TIMEOUT_S)
        except TimeoutError as error:
            raise RouteUnavailable("the workers could not be counted in time; try again") from error
        finally:
            del self._questions[number]


def main() -> None:
    line = socket.socket(fileno=int(sys.argv[1]))
    line.set_inheritable(False)
    with line.makefile("rb", buffering=0) as file:  # unbuffered: what follows is read later
        first = file.readline()
    if not first:
        sys.exit(1)  # the supervisor is gone already
    message = read_line(first)
    configure_logging(message["log_level"], message["number"])
    sys.exit(
        run(Settings.model_validate_json(message["settings"]), Supervisor(line, message["number"]))
    )


if __name__ == "__main__":
    main()
