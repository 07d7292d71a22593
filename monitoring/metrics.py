"""What Prometheus reads: counts kept in plain Python, made into samples only when somebody scrapes.

The engine and the doors count on the hot path, so a call is an addition in a list that exists
already. Label values come from what is served, never from what a caller sent: `serve` creates a
route's series, a name that is not served counts under the route "". Counting and scraping happen
on the event loop's thread; `serve` and `forget` may be called from another, hence the copies.
"""

import platform
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from importlib.metadata import version

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

from core.version import read_version
from monitoring.accepting import prefers_openmetrics
from monitoring.counts import FAILED, OTHER, Counts, Exit, RouteMetrics
from monitoring.energy import EnergyRate
from monitoring.labelled import FAMILIES, Labelled
from monitoring.memory_counts import MEMORY, MemoryCounts
from monitoring.similar import SIMILAR

_FAMILIES = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily}


class Metrics:
    """All counts of one server process."""

    enabled = True

    def __init__(self) -> None:
        self._routes: dict[str, Counts] = {}
        self._requests: dict[tuple[str, str], int] = {}
        self._memory: Callable[[], MemoryCounts] = dict
        self._similar: Callable[[], Mapping[str, Mapping[str, int]]] = dict
        self._watched: list[Callable[[], Labelled]] = []
        self.energy = EnergyRate()
        self._gather: Callable[[], Awaitable[bytes]] = self._gather_own
        self._alone = True  # in this server
        self._registry = CollectorRegistry()
        self._registry.register(_Families(self))
        ProcessCollector(registry=self._registry)

    def serve(self, route: str, stages: Sequence[str]) -> RouteMetrics:
        """The counts of a route, created with its first version; called when one is loaded."""
        counts = self._routes.setdefault(route, Counts(self.energy))
        counts.add(stages)
        self._requests.setdefault((route, "ok"), 0)
        return counts

    def forget(self, route: str) -> None:
        """Drop the series of a route that is no longer served."""
        self._routes.pop(route, None)
        for key in [key for key in self._requests.copy() if key[0] == route]:
            del self._requests[key]

    def request(self, route: str | None, result: str) -> None:
        """A door answered a request: `result` is "ok" or the error's class name."""
        key = (route if route in self._routes else "", result)
        self._requests[key] = self._requests.get(key, 0) + 1

    def watch_memory(self, read: Callable[[], MemoryCounts]) -> None:
        """Read these counts at every scrape. Raises ValueError for a count that has no metric."""
        unknown = sorted(read().keys() - MEMORY.keys())
        if unknown:
            raise ValueError(f"memory counts {unknown[0]!r}, which is none of {', '.join(MEMORY)}")
        self._memory = read

    def watch_similar(self, read: Callable[[], Mapping[str, Mapping[str, int]]]) -> None:
        """Read similar memory's counts at every scrape: of every opted-in route, as in SIMILAR."""
        self._similar = read

    def watch(self, read: Callable[[], Labelled]) -> None:
        """Read these, too, at every scrape: of names in FAMILIES."""
        self._watched.append(read)

    def spent_s(self) -> Mapping[tuple[str, str], float]:
        """Device seconds so far of rows that ended, by route and exit."""
        return {
            (route, exit): of_exit.device_s
            for route, counts in self._routes.copy().items()
            for exit, of_exit in counts.exits.copy().items()
            if of_exit.device_s
        }

    def render(self) -> tuple[bytes, str]:
        """What this process counted, as the body of a scrape and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST

    def scrape_by(self, gather: Callable[[], Awaitable[bytes]]) -> None:
        """Answer scrapes with what `gather` says instead: this process is one of several."""
        self._gather = gather
        self._alone = False

    async def scrape(self, accept: str = "", /) -> tuple[bytes, str]:
        """The body of a scrape of the whole server and its content type; OpenMetrics, which has
        exemplars, where the scraper wants it and this process is the whole server.
        """
        if self._alone and prefers_openmetrics(accept):
            body: bytes = openmetrics.generate_latest(self._registry)  # type: ignore[no-untyped-call]
            return body, openmetrics.CONTENT_TYPE_LATEST
        return await self._gather(), CONTENT_TYPE_LATEST

    async def _gather_own(self) -> bytes:
        return self.render()[0]

    def families(self) -> Iterator[Metric]:
        """Everything counted, as Prometheus families."""
        requests = CounterMetricFamily(
            "sparing_requests", "Requests answered, by result.", labels=("route", "result")
        )
        for (route, result), count in self._requests.copy().items():
            requests.add_metric((route, result), count)
        yield requests
        yield from _row_families(self._routes)
        yield from _stage_families(self._routes)
        yield from _memory_families(self._memory())
        yield from _similar_families(self._similar())
        for read in self._watched:
            yield from _labelled_families(read())


class _Families(Collector):
    """The one collector of the registry."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._build = GaugeMetricFamily(
            "sparing_build_info",
            "Always 1; the versions of what runs.",
            labels=("version", "python", "onnxruntime"),
        )
        self._build.add_metric(
            (read_version(), platform.python_version(), version("onnxruntime")), 1
        )
        # Each process says 1; that makes the right numbers when they are added up.
        self._workers = GaugeMetricFamily("sparing_workers", "Processes that serve.", value=1)
        self._starts = CounterMetricFamily(
            "sparing_worker_starts", "Processes that began to serve, replacements too.", value=1
        )

    def collect(self) -> Iterator[Metric]:
        yield from (self._build, self._workers, self._starts)
        yield from self._metrics.families()


def _row_families(routes: dict[str, Counts]) -> Iterator[Metric]:
    rows = CounterMetricFamily(
        "sparing_rows",
        "Rows answered, by the exit that answered and why it stopped there.",
        labels=("route", "exit", "stopped_by"),
    )
    latency = HistogramMetricFamily(
        "sparing_latency_seconds",
        "From a row's arrival in the engine to its answer.",
        labels=("route", "exit"),
    )
    for route, counts in routes.copy().items():
        for exit, of_exit in counts.exits.copy().items():
            if exit in (OTHER, FAILED) and not any(of_exit.rows.values()):
                continue
            for stopped_by, count in of_exit.rows.items():
                rows.add_metric((route, exit, stopped_by), count)
            latency.add_metric(
                (route, exit), _latency_buckets(of_exit), sum_value=of_exit.latency.total
            )
    yield rows
    yield latency
    yield from _spent_families(routes)


def _spent_families(routes: dict[str, Counts]) -> Iterator[Metric]:
    labels = ("route", "exit")
    device = CounterMetricFamily(
        "sparing_device_seconds", "CPU time of the device that rows took.", labels=labels
    )
    macs = CounterMetricFamily("sparing_macs", "MACs spent on rows.", labels=labels)
    full = CounterMetricFamily(
        "sparing_full_macs", "MACs of the same rows on the last stage alone.", labels=("route",)
    )
    for route, counts in routes.copy().items():
        full.add_metric((route,), counts.full_macs)
        for exit, of_exit in counts.exits.copy().items():
            if exit in counts.stages or of_exit.device_s:
                device.add_metric((route, exit), of_exit.device_s)
                macs.add_metric((route, exit), of_exit.macs)
    yield from (device, macs, full)


def _latency_buckets(of_exit: Exit) -> Sequence[tuple[str, float] | tuple[str, float, Exemplar]]:
    """With an example for each bucket that has one; Prometheus' older format leaves it out."""
    buckets: list[tuple[str, float] | tuple[str, float, Exemplar]] = []
    buckets += of_exit.latency.cumulative()
    for place, (trace, latency_s, at) in of_exit.exemplars.items():
        bound, count, *_ = buckets[place]
        buckets[place] = (bound, count, Exemplar({"trace_id": trace}, latency_s, at))
    return buckets


def _stage_families(routes: dict[str, Counts]) -> Iterator[Metric]:
    labels = ("route", "stage")
    batch = HistogramMetricFamily("sparing_batch_rows", "Rows of a batch.", labels=labels)
    queue = HistogramMetricFamily(
        "sparing_queue_seconds", "How long a row waited in the stage's lane.", labels=labels
    )
    run = HistogramMetricFamily(
        "sparing_stage_seconds", "How long the stage ran, by batch.", labels=labels
    )
    escalations = CounterMetricFamily(
        "sparing_escalations", "Rows that left the stage for another one.", labels=labels
    )
    for route, counts in routes.copy().items():
        for stage, of_stage in counts.stages.copy().items():
            key = (route, stage)
            escalations.add_metric(key, of_stage.escalated_rows)
            for family, histogram in (
                (batch, of_stage.batch_rows),
                (queue, of_stage.queue),
                (run, of_stage.run),
            ):
                family.add_metric(key, histogram.cumulative(), sum_value=histogram.total)
    yield from (batch, queue, run, escalations)


def _memory_families(counts: MemoryCounts) -> Iterator[Metric]:
    for name, count in counts.items():
        kind, text, *labels = MEMORY[name]
        family = _FAMILIES[kind](f"sparing_memory_{name}", text, labels=labels)
        series = count if isinstance(count, Mapping) else {None: count}
        for label, value in series.items():
            family.add_metric([] if label is None else [label], value)
        yield family


def _similar_families(routes: Mapping[str, Mapping[str, int]]) -> Iterator[Metric]:
    for name, (kind, text) in SIMILAR.items() if routes else ():
        make = CounterMetricFamily if kind == "counter" else GaugeMetricFamily
        family = make(f"sparing_similar_{name}", text, labels=("route",))
        for route, counts in routes.items():
            family.add_metric((route,), counts[name])
        yield family


def _labelled_families(counts: Labelled) -> Iterator[Metric]:
    for name, series in counts.items():
        kind, text, labels = FAMILIES[name]
        family = _FAMILIES[kind](f"sparing_{name}", text, labels=labels)
        for values, value in series.items():
            family.add_metric(values, value)
        yield family
