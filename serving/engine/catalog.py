"""The versions of routes that are served, each with its lanes; replaced as a whole on a reload."""

from collections.abc import Iterable, Sequence

from core.errors import UnknownRoute
from core.last_stage_entry import find_last_stage_entry
from core.manifest import Manifest
from core.messages import Pipeline
from core.parameters import find_defaults
from core.state_needs import find_state_needs
from monitoring.metrics.counts import RouteMetrics
from routes.table import count_full_macs
from serving.engine.body_limits import measure_row
from serving.engine.failed_rows import make_failed_outcomes
from serving.engine.perceptual_cache import PerceptualRoute
from serving.scheduling.batch_times import UnitCost
from serving.scheduling.lanes import Lane, Lanes

AUTO = "auto:"


class ServedRoute:
    """One version of a route, loaded and ready to run."""

    __slots__ = (
        "cache_row_s",
        "defaults",
        "digest",
        "direct",
        "entry",
        "every_lane",
        "failed",
        "finite_inputs",
        "full_macs",
        "is_cached",
        "lanes",
        "manifest",
        "metrics",
        "pipeline",
        "row_json_bytes",
        "similar",
        "state_needs",
    )

    def __init__(
        self,
        manifest: Manifest,
        pipeline: Pipeline,
        metrics: RouteMetrics,
        *,
        is_cached: bool = True,
        similar: PerceptualRoute | None = None,
        device: str = "",  # the name of the one that runs it; empty: the engine's first
    ) -> None:
        self.manifest = manifest
        self.pipeline = pipeline
        self.metrics = metrics
        self.is_cached = is_cached and manifest.cache.enabled
        self.cache_row_s = 0.0  # seconds of the local cache for a row; measured at warm-up
        self.failed = make_failed_outcomes(manifest.outputs)
        self.defaults = find_defaults(manifest.parameters)
        self.finite_inputs = [spec.name for spec in manifest.inputs if spec.finite]
        self.row_json_bytes = measure_row(manifest)
        self.similar = similar
        self.digest = pipeline.digest.hex()
        self.full_macs = count_full_macs(manifest)  # of the model that could answer alone
        self.lanes = _make_lanes(
            manifest, pipeline, metrics, manifest.cache.ttl_s if self.is_cached else None, device
        )
        self.entry = self.lanes[pipeline.first]
        self.direct = find_last_stage_entry(pipeline)
        self.state_needs = find_state_needs(pipeline)
        # Also those in which rows wait for memory.
        self.every_lane: Sequence[Lane] = list(self.lanes.values())
        if self.state_needs is not None:
            self.every_lane += [lane.reserve_before() for lane in self.lanes.values()]

    @property
    def name(self) -> str:
        return self.manifest.route

    @property
    def version(self) -> str:
        return self.manifest.version

    def is_cheap(self) -> bool:
        """Return whether a row is measured to cost less on the device than its caching does."""
        row_s = self.entry.row_cost.unit_s()
        return row_s is not None and row_s < self.cache_row_s


class Catalog:
    """Finds a route by name and version; the bare name means the newest version."""

    def __init__(self, served: Iterable[ServedRoute] = ()) -> None:
        self._index: dict[tuple[str, str | None], ServedRoute] = {}
        self._routes: list[ServedRoute] = []
        self.replace(served)

    def replace(self, served: Iterable[ServedRoute]) -> None:
        """Serve exactly these versions from now on; requests under way keep the version they
        started with.
        """
        routes = sorted(served, key=lambda one: (one.name, -int(one.version)))
        index: dict[tuple[str, str | None], ServedRoute] = {}
        for route in routes:
            index[route.name, route.version] = route
            index.setdefault((route.name, None), route)
        self._routes, self._index = routes, index

    def resolve(self, route: str, version: str | None) -> ServedRoute:
        """Return a version of a route, the newest for None. Raises UnknownRoute."""
        served = self._index.get((route, version))
        if served is not None:
            return served
        if (newest := self._index.get((route, None))) is None:
            raise UnknownRoute(f"no route is named {route[:128]!r}; GET /v1/routes lists them")
        versions = [one.version for one in self._routes if one.name == newest.name]
        raise UnknownRoute(
            f"route {route!r} has no version {str(version)[:32]!r}, it has {versions}"
        )

    def routes(self) -> list[ServedRoute]:
        """Return all versions, sorted by name, newest first."""
        return list(self._routes)

    def newest(self) -> list[ServedRoute]:
        """Return the newest version of each route, which answers for the bare name."""
        return [route for (_, version), route in self._index.items() if version is None]

    def tasks(self) -> set[str]:
        """Return the tasks that `auto:<task>` can name."""
        return {route.manifest.task for route in self._routes}


def _make_lanes(
    manifest: Manifest,
    pipeline: Pipeline,
    metrics: RouteMetrics,
    cache_ttl_s: float | None,
    device: str,
) -> Lanes:
    max_batch = {stage.name: stage.max_batch for stage in manifest.stages}
    last = manifest.stages[-1].name
    lanes = Lanes()
    row_cost = UnitCost()
    for name, stage in pipeline.stages.items():
        lanes[name] = Lane(
            stage,
            max_batch=max_batch.get(name, 32),
            is_first=name == pipeline.first,
            is_last=name == last,
            lanes=lanes,
            metrics=metrics,
            cache_ttl_s=cache_ttl_s,
            row_cost=row_cost,
            route=manifest.route,
            device=device,
        )
    return lanes
