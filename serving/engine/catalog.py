"""The versions of routes that are served, each with its lanes; replaced as a whole on a reload."""

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from typing import NamedTuple

from core.budgets import find_budget_fitting
from core.classifiers.last_stage_entry import find_last_stage_entry
from core.errors import UnknownRoute
from core.generation import find_generation
from core.manifest import Manifest
from core.messages import Pipeline
from core.parameters import find_defaults
from core.state_needs import find_state_needs
from monitoring.metrics.counts import RouteMetrics
from monitoring.metrics.rollout_counts import RoleCounts, RolloutState
from routes.rollouts import Role, RolloutPlan
from routes.table import count_full_macs
from serving.engine.body_limits import measure_row
from serving.engine.cache_worth import CacheWorth
from serving.engine.caches.perceptual_cache import PerceptualRoute
from serving.engine.failed_rows import make_failed_outcomes
from serving.scheduling.batch_times import UnitCost
from serving.scheduling.lanes import Lane, Lanes

AUTO = "auto:"


class ServedRoute:
    """One version of a route, loaded and ready to run."""

    __slots__ = (
        "bounded_inputs",
        "cache_row_s",
        "defaults",
        "digest",
        "direct",
        "entry",
        "every_lane",
        "failed",
        "finite_inputs",
        "fits_budgets",
        "full_macs",
        "generation",
        "is_cached",
        "lanes",
        "manifest",
        "metrics",
        "pipeline",
        "role_counts",
        "row_json_bytes",
        "similar",
        "state_needs",
        "worth",
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
        self.worth = CacheWorth()
        self.failed = make_failed_outcomes(manifest.outputs)
        self.defaults = find_defaults(manifest.parameters)
        self.finite_inputs = [spec.name for spec in manifest.inputs if spec.finite]
        self.bounded_inputs = [
            spec for spec in manifest.inputs if (spec.min, spec.max) != (None, None)
        ]
        self.fits_budgets = find_budget_fitting(pipeline)
        self.generation = find_generation(pipeline)
        self.row_json_bytes = measure_row(manifest)
        self.similar = similar
        self.digest = pipeline.digest.hex()
        self.full_macs = count_full_macs(manifest)  # of the model that could answer alone
        self.lanes = _make_lanes(
            manifest, pipeline, metrics, manifest.cache.ttl_s if self.is_cached else None, device
        )
        self.entry = self.lanes[pipeline.first]
        self.entry.costs_vary = self.fits_budgets is not None
        self.direct = find_last_stage_entry(pipeline)
        self.state_needs = find_state_needs(pipeline)
        # Also those in which rows wait for memory.
        self.every_lane: Sequence[Lane] = list(self.lanes.values())
        if self.state_needs is not None:
            self.every_lane += [lane.reserve_before() for lane in self.lanes.values()]
        self.role_counts: RoleCounts | None = None  # of requests whose version a rollout chose

    @property
    def name(self) -> str:
        return self.manifest.route

    @property
    def version(self) -> str:
        return self.manifest.version

    def stage_loads(self) -> Mapping[str, object]:
        """Return live figures of each stage: waiting rows, predicted milliseconds of one row and of
        a full batch.
        """
        return {
            name: {
                "waiting_rows": lane.rows + (lane.reserving.rows if lane.reserving else 0),
                "max_batch": lane.max_batch,
                "one_row_ms": lane.times.predict_s(1) * 1e3,
                "full_batch_ms": lane.times.predict_s(lane.max_batch) * 1e3,
            }
            for name, lane in self.lanes.items()
        }

    def skips_cache(self, *, weighs_hits: bool) -> bool:
        """Return whether a request is not cached, since its rows cost less on the device than their
        caching does. With `weighs_hits` also if the cache costs more than it saves.
        """
        row_s = self.entry.row_cost.unit_s()
        if row_s is None:
            return False
        if row_s < self.cache_row_s:
            return True
        if not weighs_hits or self.similar is not None:
            return False
        return not self.worth.pays(row_s, self.cache_row_s)


class _Rollout(NamedTuple):
    """A plan whose versions are served, as copies that count in their role."""

    plan: RolloutPlan
    default: ServedRoute  # answers where no caller is known, uncounted
    roles: Mapping[Role, ServedRoute]

    def choose(self, key: str) -> ServedRoute:
        return self.roles[self.plan.choose(self.default.name, key)]

    def state(self) -> RolloutState:
        return RolloutState(
            self.default.name,
            self.plan.share,
            {
                role: (served.version, served.role_counts)
                for role, served in self.roles.items()
                if served.role_counts is not None
            },
        )


class _Index(dict[tuple[str, str | None], ServedRoute]):
    """Versions by name and version. A bare name is a key unless a rollout decides it; both are in
    one object, so that a request sees either the old or the new of both.
    """

    __slots__ = ("rollouts",)

    def __init__(self) -> None:
        super().__init__()
        self.rollouts: dict[str, _Rollout] = {}


class Catalog:
    """Finds a route by name and version; the bare name means the newest version, unless a rollout
    plan names the version or versions.
    """

    def __init__(self, served: Iterable[ServedRoute] = ()) -> None:
        self._index = _Index()
        self._routes: list[ServedRoute] = []
        self._defaults: list[ServedRoute] = []
        self.replace(served)

    def replace(
        self, served: Iterable[ServedRoute], plans: Mapping[str, RolloutPlan] | None = None
    ) -> None:
        """Serve exactly these versions from now on; requests under way keep the version they
        started with. `plans`: rollouts by route; a stable version that is not served is replaced
        by the newest that is no canary.
        """
        routes = sorted(served, key=lambda one: (one.name, -int(one.version)))
        index = _Index()
        defaults: dict[str, ServedRoute] = {}
        for route in routes:
            index[route.name, route.version] = route
        for route in routes:
            if route.name not in defaults:
                plan = (plans or {}).get(route.name)
                defaults[route.name] = self._place(index, routes, route, plan)
        self._routes, self._defaults, self._index = routes, list(defaults.values()), index

    def _place(
        self,
        index: _Index,
        routes: Iterable[ServedRoute],
        newest: ServedRoute,
        plan: RolloutPlan | None,
    ) -> ServedRoute:
        """Enter what answers for the bare name of a route, and return its default version."""
        name = newest.name
        if plan is None:
            index[name, None] = newest
            return newest
        stable = index.get((name, plan.stable))
        if stable is None:
            others = [one for one in routes if one.name == name and one.version != plan.canary]
            stable = others[0] if others else newest
        canary = index.get((name, plan.canary))
        if canary is None or canary is stable:
            index[name, None] = stable
            return stable
        roles: dict[Role, ServedRoute] = {"stable": copy(stable), "canary": copy(canary)}
        old = self._index.rollouts.get(name)
        goes_on = old is not None and all(
            old.roles[role].digest == one.digest for role, one in roles.items()
        )
        for role, one in roles.items():
            one.role_counts = old.roles[role].role_counts if old and goes_on else RoleCounts()
        index.rollouts[name] = _Rollout(plan, stable, roles)
        return stable

    def resolve(self, route: str, version: str | None, key: str = "") -> ServedRoute:
        """Return a version of a route; for None the newest, or the one that a rollout chooses for
        callers with this key. Raises UnknownRoute.
        """
        index = self._index
        served = index.get((route, version))
        if served is not None:
            return served
        if (rollout := index.rollouts.get(route)) is not None and version is None:
            return rollout.choose(key) if key else rollout.default
        versions = [one.version for one in self._routes if one.name == route]
        if not versions:
            raise UnknownRoute(f"no route is named {route[:128]!r}; GET /v1/routes lists them")
        raise UnknownRoute(
            f"route {route!r} has no version {str(version)[:32]!r}, it has {versions}"
        )

    @property
    def has_rollouts(self) -> bool:
        """Whether a rollout is under way."""
        return bool(self._index.rollouts)

    def count_result(self, route: str, version: str | None, key: str, result: str) -> None:
        """Count an answered request in its rollout, if one chose its version; `result` is "ok" or
        the error's class name.
        """
        rollouts = self._index.rollouts
        if not rollouts or version is not None or not key:
            return
        rollout = rollouts.get(route)
        if rollout is not None and (counts := rollout.choose(key).role_counts) is not None:
            counts.count_request(result)

    def rollouts(self) -> list[RolloutState]:
        """Return the rollouts under way and their counts."""
        return [one.state() for one in self._index.rollouts.values()]

    def describe_rollout(self, served: ServedRoute) -> dict[str, object] | None:
        """Return a version's role and the share of callers that get the canary; None outside a
        rollout.
        """
        rollout = self._index.rollouts.get(served.name)
        if rollout is None:
            return None
        roles = {one.version: role for role, one in rollout.roles.items()}
        return {"role": roles.get(served.version), "share": rollout.plan.share}

    def routes(self) -> list[ServedRoute]:
        """Return all versions, sorted by name, newest first."""
        return list(self._routes)

    def newest(self) -> list[ServedRoute]:
        """Return the version of each route that answers for the bare name: the newest, or the
        stable one of a rollout plan.
        """
        return list(self._defaults)

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
