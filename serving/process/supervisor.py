"""Runs several workers on the same two ports, each a whole server; replaces one that dies at once.

The supervisor serves nothing itself: it reserves the ports, starts the workers, adds up their
counts and passes a stop on to them. It loads no framework and no runtime. If a worker cannot start
at first, the server ends; if one cannot be replaced later, it ends after a few tries.
"""

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from contextlib import ExitStack
from typing import NamedTuple

from monitoring.log_limit import UNLIMITED
from monitoring.metrics.multi_process import ScrapeSums
from monitoring.metrics.snapshot import Snapshot
from monitoring.metrics.switched_off import NoMetrics
from serving.process.exit_guard import EXIT_GRACE_S
from serving.process.parent_process import Started, print_failure, print_start
from serving.process.ports import reserve
from serving.process.watchdog import Watchdog
from serving.process.worker_process import WorkerProcess
from serving.settings import Settings

_log = logging.getLogger("sparing.supervisor")

MAX_EARLY_EXITS = 5  # to replace a worker, before the server ends
SETTLED_S = 1.0  # a worker that lived this long is replaced without delay
FIRST_DELAY_S, LAST_DELAY_S = 0.1, 5.0
COUNT_INTERVAL_S = 5.0  # what a killed worker counted after its last scrape is lost
COUNT_TIMEOUT_S = 2.0
_LAST_GRACE_S = EXIT_GRACE_S + 3.0


def supervise(settings: Settings) -> int:
    """Serve until told to stop. Return the same exit codes as a single process."""
    endpoint_settings = settings.server
    with ExitStack() as stack:
        ports = {}
        for endpoint, port in (
            ("http", endpoint_settings.http_port),
            ("grpc", endpoint_settings.grpc_port),
        ):
            try:
                reserved = stack.enter_context(reserve(endpoint_settings.host, port))
            except OSError as error:
                name = {"http": "HTTP", "grpc": "gRPC"}[endpoint]
                return _refuse(
                    f"cannot listen on {endpoint_settings.host}:{port} ({name}): {error.strerror}",
                    settings,
                )
            ports[f"{endpoint}_port"] = reserved.getsockname()[1]
        update = {"server": endpoint_settings.model_copy(update=ports)}
        return asyncio.run(_Supervisor(settings.model_copy(update=update)).run())


class _End(NamedTuple):
    """How one worker process ended."""

    why: str
    clean: bool
    was_ready: bool
    was_settled: bool


class _Supervisor:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stop = asyncio.Event()
        self._workers: dict[int, WorkerProcess] = {}  # by number, from 1
        self._watchdogs: dict[int, Watchdog] = {}  # by number, from 1
        self._sums = ScrapeSums()
        self._write = _find_writer(settings)
        self._announced = False
        self._failure = ""
        self._clean = True

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        keeping = [
            asyncio.create_task(self._keep_running(number))
            for number in range(1, self._settings.workers.count + 1)
        ]
        regularly = [
            asyncio.create_task(self._count_periodically()),
            asyncio.create_task(self._check_periodically()),
        ]
        await self._stop.wait()
        for worker in self._workers.values():
            worker.end(signal.SIGTERM)
        endpoint_settings = self._settings.server
        grace_s = endpoint_settings.drain_s + endpoint_settings.drain_timeout_s + _LAST_GRACE_S
        _, late = await asyncio.wait(keeping, timeout=grace_s)
        if late:
            self._clean = False
            for worker in self._workers.values():
                worker.end(signal.SIGKILL)
        await asyncio.gather(*keeping)
        for task in regularly:
            task.cancel()
        if self._failure:
            return _refuse(self._failure, self._settings)
        return 0 if self._clean else 1

    async def _keep_running(self, number: int) -> None:
        """Start a worker, and another one whenever it ends."""
        early = failed = 0  # in a row: ended early, ended before ready
        while not self._stop.is_set():
            end = await self._run_worker(number)
            if self._stop.is_set():
                self._clean &= end.clean or not end.was_ready
                return
            early = 0 if end.was_settled else early + 1
            failed = 0 if end.was_ready else failed + 1
            if failed and not self._announced:
                self._fail(end.why)
            elif failed == MAX_EARLY_EXITS:
                self._fail(
                    f"worker {number} could not be replaced in {MAX_EARLY_EXITS} tries: {end.why}"
                )
            else:
                _log.error("%s; replacing it", end.why, extra=UNLIMITED)
                await self._pause(early)

    async def _run_worker(self, number: int) -> _End:
        """Run one worker process from its start to its end."""
        try:
            worker = await WorkerProcess.start(number, self._settings)
        except OSError as error:
            return _End(f"worker {number} cannot be started: {error}", False, False, False)
        self._workers[number] = worker
        self._watchdogs[number] = self._make_watchdog()
        if self._stop.is_set():
            worker.end(signal.SIGTERM)
        welcoming = asyncio.create_task(self._on_ready(number, worker))
        code = await worker.listen(self._sum_scrapes)
        welcoming.cancel()
        del self._workers[number]
        self._sums.retire(worker.counts)
        ready = worker.ready.is_set()
        age_s = asyncio.get_running_loop().time() - worker.ready_at
        why = f"worker {number} (process {worker.pid}) {_describe_end(code)}"
        return _End(
            worker.refusal or worker.fault or why, code == 0, ready, ready and age_s >= SETTLED_S
        )

    async def _on_ready(self, number: int, worker: WorkerProcess) -> None:
        await worker.ready.wait()
        if self._announced:
            _log.info("worker %d is now process %d", number, worker.pid, extra=UNLIMITED)
            return
        workers = [self._workers[number] for number in sorted(self._workers)]
        if len(workers) == self._settings.workers.count and all(
            one.ready.is_set() for one in workers
        ):
            self._announced = True
            endpoint_settings = self._settings.server
            started = Started(
                worker.routes,
                endpoint_settings.host,
                endpoint_settings.http_port,
                endpoint_settings.grpc_port,
                is_tls=bool(endpoint_settings.tls_certificate_file),
            )
            pids = ", ".join(str(one.pid) for one in workers)
            print_start(
                started,
                f"supervisor {os.getpid()}, workers {pids}",
                self._settings.log.format,
            )

    async def _pause(self, early: int) -> None:
        """Wait before a new start: the longer, the more workers ended early in a row."""
        delay_s = min(LAST_DELAY_S, FIRST_DELAY_S * 2 ** (early - 1)) if early else 0.0
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait([stopping], timeout=delay_s)
        stopping.cancel()

    def _fail(self, why: str) -> None:
        self._failure = self._failure or why
        self._stop.set()

    async def _count_periodically(self) -> None:
        while True:
            await asyncio.sleep(COUNT_INTERVAL_S)
            await self._count()

    async def _check_periodically(self) -> None:
        while True:
            await asyncio.sleep(self._settings.workers.check_interval_s)
            now = asyncio.get_running_loop().time()
            for number, worker in self._workers.items():
                fault = self._watchdogs[number].observe(
                    now,
                    ready=worker.ready.is_set(),
                    answered=worker.answered,
                    stuck=worker.stuck,
                )
                if fault:
                    worker.kill(fault)
                worker.answered = False
                worker.ping()

    def _make_watchdog(self) -> Watchdog:
        workers = self._settings.workers
        return Watchdog(
            asyncio.get_running_loop().time(),
            interval_s=workers.check_interval_s,
            max_missed=workers.max_missed_checks,
            start_timeout_s=workers.start_timeout_s,
        )

    async def _sum_scrapes(self) -> bytes:
        """Return one scrape for all workers together."""
        await self._count()
        sums = self._sums.add_up([one.counts for one in self._workers.values()])
        return (await asyncio.to_thread(self._write, sums))[0]

    async def _count(self) -> None:
        await asyncio.gather(*(one.count(COUNT_TIMEOUT_S) for one in self._workers.values()))


def _find_writer(settings: Settings) -> Callable[[Snapshot], tuple[bytes, str]]:
    """What writes scrapes; the library that does it is loaded only where metrics are on."""
    if not settings.metrics.enabled:
        return lambda _: NoMetrics().render()
    from monitoring.metrics.exposition import write_scrape

    return write_scrape


def _describe_end(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"ended by signal {-code}"


def _refuse(why: str, settings: Settings) -> int:
    print_failure(why, settings.log.format)
    return 1
