"""Adds what the engine knows about itself to the metrics, to be read at each scrape."""

from monitoring.metrics.cache_counts import CacheCounts
from monitoring.metrics.collector import Metrics
from monitoring.metrics.labelled import Labelled
from monitoring.metrics.switched_off import NoMetrics
from serving.engine.caches.perceptual_lookup import count_perceptual
from serving.engine.caches.remote_cache import count_remote_cache
from serving.engine.engine import Engine
from serving.settings import Settings


def add_readers(metrics: Metrics | NoMetrics, engine: Engine, settings: Settings) -> None:
    """Let the metrics read the engine's cache, routes and devices."""
    metrics.add_cache_reader(lambda: _count_memory(engine, settings.cache.limit_bytes))
    metrics.add_perceptual_reader(lambda: count_perceptual(engine.catalog.routes()))
    metrics.add_reader(lambda: _count_served(engine, settings.engine.max_queued_rows))
    metrics.add_reader(lambda: _count_devices(engine))
    metrics.add_rollout_reader(engine.catalog.rollouts)


def _count_memory(engine: Engine, limit_bytes: int) -> CacheCounts:
    counts = engine.memory.counts()
    return {
        "hits": counts.hits,
        "misses": counts.misses,
        "stores": counts.stores,
        "evictions": counts.evictions,
        "expirations": counts.expirations,
        "rejected": counts.rejected,
        "skipped": engine.cached_rows.skipped,
        "entries": counts.entries,
        "bytes": counts.size_bytes,
        "limit_bytes": limit_bytes,
        **count_remote_cache(engine.lookup),
    }


def _count_served(engine: Engine, limit_rows: int) -> Labelled:
    routes = engine.catalog.routes()
    waiting: dict[tuple[str, ...], float] = {}
    for one in routes:
        rows = sum(lane.rows + lane.looked_up for lane in one.every_lane)
        waiting[one.name,] = waiting.get((one.name,), 0.0) + rows
    return {
        "route_info": {
            (one.name, one.version, one.digest, one.manifest.pipeline, one.entry.device): 1.0
            for one in routes
        },
        "waiting_rows": waiting,
        "waiting_rows_limit": {(): float(limit_rows)},
    }


def _count_devices(engine: Engine) -> Labelled:
    devices = list(engine.schedulers)
    return {
        "device_busy_seconds": {(name,): one.device_s() for name, one in devices},
        "device_state_bytes": {(name,): float(one.states.used_bytes) for name, one in devices},
        "device_state_reserved_bytes": {
            (name,): float(one.states.reserved_bytes) for name, one in devices
        },
        "device_state_limit_bytes": {
            (name,): float(one.states.limit_bytes) for name, one in devices
        },
    }
