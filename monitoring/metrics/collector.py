"""What Prometheus reads: counts kept in plain Python, and turned into text only at a scrape.

The engine and the endpoints count on the hot path, so a call is an addition in a list that exists
already. Label values come from what is served, never from what a caller sent: `add_route` creates a
route's series, a name that is not served counts under the route "". Counting happens on the event
loop's thread, and so do snapshots, which are cheap; the text is written from a snapshot in a thread
of its own. `add_route` and `remove_route` may be called from yet another, hence the copies.
"""

import asyncio
import platform
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version

from core.version import read_version
from monitoring.energy.rate import EnergyRate
from monitoring.metrics import generation_counts
from monitoring.metrics.cache_counts import MEMORY, CacheCounts
from monitoring.metrics.counts import FAILED, OTHER, Counts, RouteMetrics
from monitoring.metrics.generation_counts import GenerationCounts
from monitoring.metrics.labelled import FAMILIES, Labelled
from monitoring.metrics.perceptual_counts import SIMILAR
from monitoring.metrics.rollout_counts import RolloutState, make_families
from monitoring.metrics.snapshot import Family, Snapshot

OLDER_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """All counts of one server process."""

    enabled = True

    def __init__(self) -> None:
        self._routes: dict[str, Counts] = {}
        self._requests = {("", "ok"): 0}  # else a share of failures under "" would have no base
        self._memory: Callable[[], CacheCounts] = dict
        self._similar: Callable[[], Mapping[str, Mapping[str, int]]] = dict
        self._watched: list[Callable[[], Labelled]] = []
        self._rollouts: Callable[[], Sequence[RolloutState]] = list
        self.energy = EnergyRate()
        self._gather: Callable[[], Awaitable[bytes]] | None = None
        self._constant = list(_constant_families())
        # Where metrics are switched off, there is no `Metrics` and the library is not loaded.
        from monitoring.metrics.exposition import write_scrape
        from monitoring.metrics.process import Process

        self._write: Callable[[Snapshot, str], tuple[bytes, str]] = write_scrape
        self._process = Process()
        self._writer = ThreadPoolExecutor(1, "scrape")  # one: scrapes wait for each other

    def add_route(
        self,
        route: str,
        stages: Sequence[str],
        exits: Sequence[str] | None = None,
        *,
        generates: bool = False,
    ) -> RouteMetrics:
        """The counts of a route, created with its first version; called when one is loaded.
        `exits` None: the stages. `generates`: it answers in tokens."""
        counts = self._routes.setdefault(route, Counts(self.energy))
        counts.add(stages, exits)
        if generates and counts.generation is None:
            counts.generation = GenerationCounts()
        self._requests.setdefault((route, "ok"), 0)
        return counts

    def remove_route(self, route: str) -> None:
        """Drop the series of a route that is no longer served."""
        self._routes.pop(route, None)
        for key in [key for key in self._requests.copy() if key[0] == route]:
            del self._requests[key]

    def count_request(self, route: str | None, result: str, requests: int = 1) -> None:
        """An endpoint answered requests: `result` is "ok" or the error's class name."""
        key = (route if route in self._routes else "", result)
        self._requests[key] = self._requests.get(key, 0) + requests

    def request_results(self, route: str) -> Mapping[str, int]:
        """Requests of a route so far by their result."""
        counted = self._requests.copy()
        return {result: count for (name, result), count in counted.items() if name == route}

    def add_cache_reader(self, read: Callable[[], CacheCounts]) -> None:
        """Read these counts at every scrape. Raises ValueError for a count that has no metric."""
        unknown = sorted(read().keys() - MEMORY.keys())
        if unknown:
            raise ValueError(
                f"the cache counts {unknown[0]!r}, which is none of {', '.join(MEMORY)}"
            )
        self._memory = read

    def add_perceptual_reader(self, read: Callable[[], Mapping[str, Mapping[str, int]]]) -> None:
        """Read the perceptual cache's counts, by opted-in route, at every scrape."""
        self._similar = read

    def add_reader(self, read: Callable[[], Labelled]) -> None:
        """Read these, too, at every scrape: of names in FAMILIES."""
        self._watched.append(read)

    def add_rollout_reader(self, read: Callable[[], Sequence[RolloutState]]) -> None:
        """Read the counts of rollouts at every scrape."""
        self._rollouts = read

    def device_s_by_exit(self) -> Mapping[tuple[str, str], float]:
        """Device seconds so far of rows that ended, by route and exit; 0 where none did."""
        return {
            (route, exit): of_exit.device_s
            for route, counts in self._routes.copy().items()
            for exit, of_exit in counts.exits.copy().items()
            if exit in counts.stages or of_exit.device_s
        }

    def snapshot(self) -> Snapshot:
        """What this process counted so far. Copied: counting goes on without changing it."""
        return list(self._families())

    def render(self) -> tuple[bytes, str]:
        """What this process counted, in the older text, and its content type."""
        return self._write(self.snapshot(), "")

    def set_scraper(self, gather: Callable[[], Awaitable[bytes]]) -> None:
        """Answer scrapes with what `gather` says instead: this process is one of several."""
        self._gather = gather

    async def scrape(self, accept: str = "", /) -> tuple[bytes, str]:
        """The body of a scrape of the whole server and its content type; OpenMetrics, which has
        exemplars, where the scraper wants it and this process is the whole server.
        """
        if self._gather is not None:
            return await self._gather(), OLDER_TYPE
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._writer, self._write, self.snapshot(), accept)

    def _families(self) -> Iterator[Family]:
        yield from self._constant
        requests = Family(
            "sparing_requests", "counter", "Requests answered, by result.", ("route", "result")
        )
        for key, count in self._requests.copy().items():
            requests.add(key, count)
        yield requests
        yield from _row_families(self._routes)
        yield from _cost_families(self._routes)
        yield from _stage_families(self._routes)
        yield from generation_counts.make_families(
            {
                route: counts.generation
                for route, counts in self._routes.copy().items()
                if counts.generation is not None
            }
        )
        yield from _memory_families(self._memory())
        yield from _similar_families(self._similar())
        for read in self._watched:
            yield from _labelled_families(read())
        yield from make_families(self._rollouts())
        yield from self._process.read()


def _constant_families() -> Iterator[Family]:
    build = Family(
        "sparing_build_info",
        "gauge",
        "Always 1; the versions of the server and its libraries.",
        ("version", "python", "onnxruntime"),
    )
    build.add((read_version(), platform.python_version(), version("onnxruntime")), 1)
    # Each process says 1; that makes the right numbers when they are added up.
    workers = Family("sparing_workers", "gauge", "Number of serving processes.")
    workers.add((), 1)
    starts = Family(
        "sparing_worker_starts", "counter", "Serving processes started, replacements included."
    )
    starts.add((), 1)
    yield from (build, workers, starts)


def _row_families(routes: dict[str, Counts]) -> Iterator[Family]:
    rows = Family(
        "sparing_rows",
        "counter",
        "Rows answered, by the exit that answered and the reason it stopped there.",
        ("route", "exit", "stopped_by"),
    )
    latency = Family(
        "sparing_latency_seconds",
        "histogram",
        "Time from a row's arrival in the engine to its answer.",
        ("route", "exit"),
    )
    for route, counts in routes.copy().items():
        for exit, of_exit in counts.exits.copy().items():
            if exit in (OTHER, FAILED) and not any(of_exit.rows.values()):
                continue
            for stopped_by, count in of_exit.rows.items():
                rows.add((route, exit, stopped_by), count)
            latency.add_histogram((route, exit), of_exit.latency, of_exit.exemplars)
    yield from (rows, latency)


def _cost_families(routes: dict[str, Counts]) -> Iterator[Family]:
    labels = ("route", "exit")
    device = Family("sparing_device_seconds", "counter", "Device CPU time spent on rows.", labels)
    macs = Family(
        "sparing_macs", "counter", "Multiply-accumulate operations spent on rows.", labels
    )
    full = Family(
        "sparing_full_macs",
        "counter",
        "Multiply-accumulate operations that the full model alone would have spent on all rows.",
        ("route",),
    )
    for route, counts in routes.copy().items():
        full.add((route,), counts.full_macs)
        for exit, of_exit in counts.exits.copy().items():
            if exit in counts.stages or of_exit.device_s:
                device.add((route, exit), of_exit.device_s)
                macs.add((route, exit), of_exit.macs)
    yield from (device, macs, full)


def _stage_families(routes: dict[str, Counts]) -> Iterator[Family]:
    labels = ("route", "stage")
    batch = Family("sparing_batch_rows", "histogram", "Rows per batch.", labels)
    queue = Family(
        "sparing_queue_seconds", "histogram", "Time a row waited in the stage's queue.", labels
    )
    run = Family("sparing_stage_seconds", "histogram", "Time the stage ran, per batch.", labels)
    escalations = Family(
        "sparing_escalations", "counter", "Rows that went on to a later stage.", labels
    )
    for route, counts in routes.copy().items():
        for stage, of_stage in counts.stages.copy().items():
            key = (route, stage)
            escalations.add(key, of_stage.escalated_rows)
            batch.add_histogram(key, of_stage.batch_rows)
            queue.add_histogram(key, of_stage.queue)
            run.add_histogram(key, of_stage.run)
    yield from (batch, queue, run, escalations)


def _memory_families(counts: CacheCounts) -> Iterator[Family]:
    for name, count in counts.items():
        family = Family(f"sparing_cache_{name}", *MEMORY[name])
        if isinstance(count, Mapping):
            for label, value in count.items():
                family.add((label,), value)
        else:
            family.add((), count)
        yield family


def _similar_families(routes: Mapping[str, Mapping[str, int]]) -> Iterator[Family]:
    for name, meaning in SIMILAR.items() if routes else ():
        family = Family(f"sparing_cache_perceptual_{name}", *meaning)
        for route, counts in routes.items():
            family.add((route,), counts[name])
        yield family


def _labelled_families(counts: Labelled) -> Iterator[Family]:
    for name, series in counts.items():
        family = Family(f"sparing_{name}", *FAMILIES[name])
        for values, value in series.items():
            family.add(values, value)
        yield family
