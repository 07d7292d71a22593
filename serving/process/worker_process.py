"""A worker process as its supervisor sees it: start, listen, request counts, end.

A fresh interpreter, never a fork of this one; `serving.process.worker_main` is at the other end of
the channel.
"""

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path

from monitoring.metrics.snapshot import Snapshot, unpack
from serving.process.pipe import Message, open_pipe, read_message, tell
from serving.settings import Settings, write_settings

SumScrapes = Callable[[], Awaitable[bytes]]

_ROOT = Path(__file__).parents[2]
_MAX_PENDING_REQUESTS = 64  # for its counts, under way at once


class WorkerProcess:
    """A worker. `await WorkerProcess.start(...)`, then `listen` until it has ended."""

    def __init__(
        self,
        process: "subprocess.Popen[bytes]",
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.pid = process.pid
        self.ready = asyncio.Event()
        self.routes = ""  # set when it is ready
        self.ready_at = 0.0
        self.refusal = ""  # why it could not start, as it reported
        self.counts: Snapshot = ()  # its newest scrape
        self.answered = False  # a message came since this was last set to False
        self.stuck = ""  # the fault that it last reported
        self.fault = ""  # why it was killed
        self._process = process
        self._handle = os.pidfd_open(process.pid)
        self._reader = reader
        self._writer = writer
        self._requests: deque[asyncio.Future[None]] = deque()
        self._sums: set[asyncio.Task[None]] = set()

    @classmethod
    async def start(cls, number: int, settings: Settings) -> "WorkerProcess":
        """Start the process of worker `number`. Raises OSError if the system allows no further
        process.
        """
        ours, theirs = socket.socketpair()
        path = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        with theirs:
            try:
                process = subprocess.Popen(
                    [
                        sys.executable,
                        "-P",
                        "-m",
                        "serving.process.worker_main",
                        str(theirs.fileno()),
                    ],
                    stdin=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
                    process_group=0,  # Ctrl-C goes to the supervisor only
                )
            except OSError:
                ours.close()
                raise
        worker = cls(process, *await open_pipe(ours))
        text = write_settings(settings)  # never on the command line, which other users can read
        level = logging.getLogger().level
        tell(worker._writer, {"number": number, "log_level": level, "settings": text})
        return worker

    async def listen(self, sum_scrapes: SumScrapes) -> int:
        """Handle messages until the process ends; return its exit code, or minus the signal's
        number.
        """
        while (message := await read_message(self._reader)) is not None:
            self._handle_message(message, sum_scrapes)
        self._writer.close()
        while self._requests:
            self._requests.popleft().set_result(None)
        return await self._wait()

    async def count(self, timeout_s: float) -> None:
        """Update `counts`; they stay as they were if no reply comes in time."""
        if self._writer.is_closing() or not self.ready.is_set():
            return
        if len(self._requests) < _MAX_PENDING_REQUESTS:
            self._requests.append(asyncio.get_running_loop().create_future())
            tell(self._writer, {"kind": "count"})
        await asyncio.wait([self._requests[-1]], timeout=timeout_s)

    def ping(self) -> None:
        """Request a sign that it is alive."""
        if self.ready.is_set():
            tell(self._writer, {"kind": "check"})

    def kill(self, fault: str) -> None:
        """Kill the process and keep the fault as the reason."""
        self.fault = f"worker process {self.pid} {fault} and was killed"
        self.end(signal.SIGKILL)

    def end(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def _wait(self) -> int:
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._handle, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(self._handle)
            os.close(self._handle)
        return self._process.wait()

    def _handle_message(self, message: Message, sum_scrapes: SumScrapes) -> None:
        kind = message["kind"]
        self.answered = True
        if kind == "alive":
            self.stuck = message["stuck"]
        elif kind == "ready":
            self.routes = message["routes"]
            self.ready_at = asyncio.get_running_loop().time()
            self.ready.set()
        elif kind == "refused":
            self.refusal = message["why"]
        elif kind == "counts":
            self.counts = unpack(message["counts"])
            if self._requests:
                self._requests.popleft().set_result(None)
        elif kind == "sum":
            answering = asyncio.create_task(self._answer(message["number"], sum_scrapes))
            self._sums.add(answering)
            answering.add_done_callback(self._sums.discard)

    async def _answer(self, number: int, sum_scrapes: SumScrapes) -> None:
        text = await sum_scrapes()
        tell(self._writer, {"kind": "sums", "number": number, "text": text.decode()})
