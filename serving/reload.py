"""Loads the route directories and reloads those that change, without failing a request.

A new version is loaded and warmed up beside the one in service, then the whole catalog is replaced
at once; requests under way finish on the version that they started with. A damaged directory is
logged and refused; the version that was served from it before stays in service.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from core.errors import ModelDirectoryError
from core.exit_names import find_exits
from core.generation import find_generation
from core.manifest import MAX_FILES
from monitoring.log_limit import UNLIMITED
from monitoring.metrics.collector import Metrics
from monitoring.metrics.switched_off import NoMetrics
from routes.loading import load_route
from routes.rollouts import RolloutPlan
from routes.scanning import scan_routes
from serving.devices import RouteDevices
from serving.engine.caches.perceptual_cache import PerceptualRoutes
from serving.engine.catalog import Catalog, ServedRoute
from serving.rollout_files import RolloutFiles
from serving.warmup import warm_up

_log = logging.getLogger("sparing.routes")

Signature = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True, slots=True)
class _Loaded:
    signature: Signature
    served: ServedRoute | None  # None: refused, and nothing was served from there before


class Reloader:
    """Keeps a catalog equal to the contents of the route directories."""

    def __init__(
        self,
        roots: Sequence[Path],
        catalog: Catalog,
        devices: RouteDevices,
        metrics: Metrics | NoMetrics,
        *,
        is_cached: bool,
        similar: PerceptualRoutes | None = None,
    ) -> None:
        self._roots = roots
        self._catalog = catalog
        self._devices = devices
        self._metrics = metrics
        self._caches = is_cached
        self._similar = similar or PerceptualRoutes({})
        self._loaded: Mapping[Path, _Loaded] = {}
        self._rollouts = RolloutFiles()
        self._counted: set[str] = set()  # routes that have metric series
        self._faults: set[Path] = set()  # folders that could not be read
        self._noted: dict[str, str] = {}  # plans by route, as they were logged
        self.refused: dict[Path, str] = {}

    def refresh(self) -> bool:
        """Load new and changed routes; return True if the catalog changed."""
        loaded: dict[Path, _Loaded] = {}
        directories, faults = self._scan()
        for directory in directories:
            signature = _sign(directory)
            old = self._loaded.get(directory)
            if old is None or old.signature != signature:
                loaded[directory] = self._load(directory, signature, old)
            else:
                loaded[directory] = old
        self._note_faults(faults)
        for directory, old in self._loaded.items():
            if not faults.keys().isdisjoint(directory.parents):
                loaded.setdefault(directory, old)
        replans = self._rollouts.refresh(directory.parent for directory in loaded)
        changed = replans or loaded != self._loaded
        if changed:
            self._loaded = loaded
            self.refused = {
                path: why for path, why in self.refused.items() if path in loaded or path in faults
            }
            served = _one_a_version(loaded)
            plans = self._rollouts.plans()
            self._catalog.replace(served, plans)
            names = {one.name for one in served}
            self._note_plans(plans, names)
            self._forget_others(names)
            self._similar.report_unserved(names)
            self._devices.report_unserved(names)
        return changed

    def _scan(self) -> tuple[list[Path], dict[Path, str]]:
        """Return all route directories, and the folders that could not be read with the reason.
        Routes from an unreadable folder stay in service.
        """
        found = [scan_routes(root) for root in self._roots]
        return (
            [directory for one in found for directory in one.directories],
            {path: why for one in found for path, why in one.faults.items()},
        )

    def _note_faults(self, faults: Mapping[Path, str]) -> None:
        """Log new faults and forget those that are gone."""
        for path, why in faults.items():
            if self.refused.get(path) != why:
                self._refuse(path, why)
        for path in self._faults - faults.keys():
            self.refused.pop(path, None)
        self._faults = set(faults)

    def _refuse(self, path: Path, why: str) -> None:
        _log.error("route refused: %s", why, extra=UNLIMITED)
        self.refused[path] = why

    def _load(self, directory: Path, signature: Signature, old: _Loaded | None) -> _Loaded:
        try:
            served = self._open(directory)
        except ModelDirectoryError as error:
            why = str(error)
        except Exception as error:  # a runtime's or parser's: only this route fails
            why = f"{directory}: could not be loaded: {type(error).__name__}: {error}"
        else:
            self.refused.pop(directory, None)
            int8 = [one.name for one in served.manifest.stages if one.precision == "int8"]
            files = f", in int8: {', '.join(int8)}" if int8 else ""
            place = (served.name, served.version, served.digest[:12], files)
            _log.info("serving %s version %s (%s)%s", *place, extra=UNLIMITED)
            return _Loaded(signature, served)
        self._refuse(directory, why)
        return _Loaded(signature, old.served if old is not None else None)

    def _open(self, directory: Path) -> ServedRoute:
        device = self._devices.of(directory.resolve().parent.name)
        route = load_route(directory, device)
        name = route.manifest.route
        stages = [stage.name for stage in route.pipeline.stages.values()]
        generates = find_generation(route.pipeline) is not None
        exits = find_exits(route.pipeline)
        counts = self._metrics.add_route(name, stages, exits, generates=generates)
        self._counted.add(name)
        served = ServedRoute(
            route.manifest,
            route.pipeline,
            counts,
            is_cached=self._caches,
            similar=self._similar.open(route.manifest),
            device=device.name,
        )
        warm_up(served, device)
        return served

    def _note_plans(self, plans: Mapping[str, RolloutPlan], names: set[str]) -> None:
        """Log which versions answer for the bare names of routes with a new plan."""
        noted = {name: self._describe(name, plan) for name, plan in plans.items() if name in names}
        for name, line in noted.items():
            if self._noted.get(name) != line:
                _log.info("rollout of %s: %s", name, line, extra=UNLIMITED)
        for name in self._noted.keys() - noted.keys():
            _log.info("rollout of %s: none, the newest version answers", name, extra=UNLIMITED)
        self._noted = noted

    def _describe(self, name: str, plan: RolloutPlan) -> str:
        stable = self._catalog.resolve(name, None)
        line = f"version {stable.version} answers"
        if stable.version != plan.stable:
            line = f"version {plan.stable} is not served, {line}"
        role = self._catalog.describe_rollout(stable)
        if role is not None:
            return f"{line}, version {plan.canary} answers {plan.share:.4g} of the callers"
        if plan.canary:
            return f"{line}, version {plan.canary} is not served"
        return line

    def _forget_others(self, names: set[str]) -> None:
        """Drop the metric series of routes that are no longer served."""
        for name in self._counted - names:
            self._metrics.remove_route(name)
        self._counted &= names


def _sign(directory: Path) -> Signature:
    """Return names, sizes and times of the files: cheap to compare, and any write changes them."""
    try:
        with os.scandir(directory) as entries:
            first = sorted(islice(entries, MAX_FILES + 1), key=lambda entry: entry.name)
    except OSError:  # it is being replaced, or cannot be read
        return ()
    return tuple(_sign_file(entry) for entry in first)


def _sign_file(entry: "os.DirEntry[str]") -> tuple[str, int, int, int]:
    try:
        status = entry.stat()
    except OSError:  # removed, or a broken link
        return entry.name, -1, 0, 0
    return entry.name, status.st_size, status.st_mtime_ns, status.st_ino


def _one_a_version(loaded: Mapping[Path, _Loaded]) -> list[ServedRoute]:
    chosen: dict[tuple[str, str], ServedRoute] = {}
    for directory, one in loaded.items():
        if one.served is None:
            continue
        name = (one.served.name, one.served.version)
        if name in chosen:
            _log.error("route %s version %s exists twice; %s is not served", *name, directory)
        else:
            chosen[name] = one.served
    return list(chosen.values())
