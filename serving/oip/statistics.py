"""The read-only part of Triton's statistics and model repository extensions: counts, durations and
the list of served versions, for both endpoints.

Everything comes from the counts of this process that `/metrics` shows. They are kept by route, so
the newest version, which answers for the bare name, carries them; older versions show zeros.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from core.errors import InvalidInput
from monitoring.metrics.counts import Counts, Stage
from serving.engine.catalog import Catalog, ServedRoute

Results = Callable[[str], Mapping[str, int]]  # requests of a route by result, one of which is "ok"

UNCOUNTED = "statistics: this server runs with metrics.enabled = false and counts nothing"
READ_ONLY = (
    "repository: this server has no load or unload, it follows the directories it serves;"
    " change the model directory instead"
)


@dataclass(frozen=True, slots=True)
class Duration:
    """A count of events, and their total duration."""

    count: int = 0
    ns: int = 0


class BatchStatistics(NamedTuple):
    """Batches of one size in the first stage; there is no separate time before or after the
    stage.
    """

    batch_size: int
    compute_infer: Duration
    compute_input: Duration = Duration()
    compute_output: Duration = Duration()


class InferStatistics(NamedTuple):
    """`success` and `fail` count requests; the others count rows, of which a request has many."""

    success: Duration = Duration()
    fail: Duration = Duration()
    queue: Duration = Duration()
    compute_input: Duration = Duration()
    compute_infer: Duration = Duration()
    compute_output: Duration = Duration()
    cache_hit: Duration = Duration()
    cache_miss: Duration = Duration()


class ModelStatistics(NamedTuple):
    """The counts of one version of a route."""

    name: str
    version: str
    last_inference: int = 0  # end of the newest batch, in milliseconds since 1970
    inference_count: int = 0  # rows that were computed, without those from the cache
    execution_count: int = 0  # batches of the first stage
    inference_stats: InferStatistics = InferStatistics()
    batch_stats: tuple[BatchStatistics, ...] = ()


class IndexEntry(NamedTuple):
    """One version that is served, and therefore ready."""

    name: str
    version: str
    state: str = "READY"
    reason: str = ""


def read_index(catalog: Catalog, *, ready: bool, draining: bool) -> list[IndexEntry]:
    """Return the served versions; with `ready`, only those that take requests now."""
    if draining and ready:
        return []
    state, reason = ("UNAVAILABLE", "the server is shutting down") if draining else ("READY", "")
    return [IndexEntry(one.name, one.version, state, reason) for one in catalog.routes()]


def read_statistics(
    catalog: Catalog, results: Results, name: str = "", version: str = ""
) -> list[ModelStatistics]:
    """Return the counts of all routes, of one route or of one version. Raises UnknownRoute, and
    InvalidInput if metrics are off.
    """
    served: Iterable[ServedRoute] = catalog.routes()
    if name:
        newest = catalog.resolve(name, version or None)
        served = [newest] if version else [one for one in served if one.name == newest.name]
    return [_read(one, catalog, results) for one in served]


def _read(served: ServedRoute, catalog: Catalog, results: Results) -> ModelStatistics:
    counts = served.metrics
    if not isinstance(counts, Counts):
        raise InvalidInput(UNCOUNTED)
    if catalog.resolve(served.name, None) is not served:
        return ModelStatistics(served.name, served.version)
    entry = counts.stages[served.entry.stage.name]
    hits, computed = _count_rows(counts)
    return ModelStatistics(
        served.name,
        served.version,
        last_inference=round(max(one.last_batch_at for one in counts.stages.values()) * 1e3),
        inference_count=computed,
        execution_count=sum(size.batches for size in entry.sizes.values()),
        inference_stats=_read_durations(
            counts, results(served.name), hits, computed if served.is_cached else 0
        ),
        batch_stats=tuple(
            BatchStatistics(rows, Duration(size.batches, _to_ns(size.run_s)))
            for rows, size in sorted(entry.sizes.items())
        ),
    )


def _read_durations(
    counts: Counts, results: Mapping[str, int], hits: int, misses: int
) -> InferStatistics:
    requests = results.get("ok", 0)
    failed = sum(results.values()) - requests
    rows = sum(sum(one.latency.counts) for one in counts.exits.values())
    latency_s = sum(one.latency.total for one in counts.exits.values())
    mean_s = latency_s / rows if rows else 0.0
    stages = counts.stages.values()
    return InferStatistics(
        success=Duration(requests, _to_ns(mean_s * requests)),
        fail=Duration(failed),
        queue=Duration(
            sum(sum(one.queue.counts) for one in stages),
            _to_ns(sum(one.queue.total for one in stages)),
        ),
        compute_infer=Duration(sum(map(_count_run, stages)), _to_ns(sum(map(_wait_s, stages)))),
        cache_hit=Duration(hits),
        cache_miss=Duration(misses),
    )


def _count_rows(counts: Counts) -> tuple[int, int]:
    """Return how many rows were answered from the cache, and how many were computed."""
    hits = sum(one.rows["cache"] for one in counts.exits.values())
    return hits, sum(sum(one.rows.values()) for one in counts.exits.values()) - hits


def _count_run(stage: Stage) -> int:
    return sum(rows * size.batches for rows, size in stage.sizes.items())


def _wait_s(stage: Stage) -> float:
    """Return the sum over rows of the time in the stage: each row waits for its whole batch."""
    return sum(rows * size.run_s for rows, size in stage.sizes.items())


def _to_ns(seconds: float) -> int:
    return round(seconds * 1e9)
