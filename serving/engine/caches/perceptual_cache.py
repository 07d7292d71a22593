"""Perceptual cache of a route that was opted in: a picture gets the answer of a similar picture.

It joins the cache, the audit and the counts of one version of a route. Only confident answers are
given again. An answer from here is never stored, neither here, so that similarity cannot drift from
picture to picture, nor in the exact cache. When it is asked is decided in
`serving.engine.caches.perceptual_lookup`.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from cache.audit import Audit
from cache.caller_audits import CallerAudits
from cache.fingerprint import hash_controls
from cache.perceptual import Bounds, Pictures, Sketch, sketch_pictures
from cache.perceptual_cache import Entry, PerceptualCache
from core.errors import ModelDirectoryError
from core.manifest import Manifest
from core.messages import Outcome, Request
from serving.settings import PerceptualRouteSettings

_log = logging.getLogger("sparing.cache.perceptual")

# A large picture takes a millisecond to sketch, on the event loop. After so many values in one
# request the remaining rows are computed without a lookup.
MAX_SKETCHED_VALUES = 2**20

_CHANNELS = ((), (1,), (3,))


@dataclass(slots=True)
class PerceptualCounts:
    """What the perceptual cache did for all versions of a route since the server started."""

    hits: int = 0  # answered; without audited hits
    misses: int = 0
    guarded: int = 0  # too flat to compare
    refused: int = 0  # misses with a matching hash but another signature
    audits: int = 0
    wrong: int = 0  # audits with another computed answer


class Probe(NamedTuple):
    """A row that is computed: its sketch, and the stored entry that its answer audits, if any."""

    owner: "PerceptualRoute"
    namespace: tuple[object, ...]
    sketch: Sketch
    audited: Entry | None
    caller: str = ""  # whose hit it audits

    def complete(self, outcome: Outcome, ttl_s: float) -> None:
        """Take the row's final, fully computed answer, which may be kept for `ttl_s` seconds."""
        self.owner.record_answer(self, outcome, ttl_s)


class PerceptualRoute:
    """The perceptual cache of one version of a route. Used from the event loop only."""

    def __init__(
        self,
        manifest: Manifest,
        settings: PerceptualRouteSettings,
        counts: PerceptualCounts,
        *,
        sketch: Callable[[Pictures], Sequence[Sketch]] = sketch_pictures,
    ) -> None:
        self._route = f"{manifest.route} version {manifest.version}"
        self._input = _find_input(manifest)
        self._compared = _find_compared_outputs(manifest)
        self._settings = settings
        self._bounds = Bounds(settings.max_distance, settings.max_difference)
        self._sketch = sketch
        self._audits = CallerAudits(self._make_audit)
        self.counts = counts
        self.memory = PerceptualCache(settings.limit_bytes)

    @property
    def on(self) -> bool:
        """Whether it is on for every caller so far."""
        return self._audits.off == 0

    def look_up(
        self, request: Request, rows: Sequence[int]
    ) -> tuple[Mapping[int, Outcome], Mapping[int, Probe]]:
        """Return the answers found, and a probe for each row that must be computed."""
        audit = self._audits.of(request.caller)
        if not audit.on or not rows:
            return {}, {}
        pictures = request.inputs[self._input]
        rows = rows[: MAX_SKETCHED_VALUES // pictures[0].size] if pictures.size else ()
        if not rows:
            return {}, {}
        if len(rows) < len(pictures):
            pictures = pictures[list(rows)]
        namespace = (request.tenant, hash_controls(request.controls))
        least = request.controls.get("min_confidence", 0.0) if request.controls else 0.0
        known: dict[int, Outcome] = {}
        probes: dict[int, Probe] = {}
        for row, sketch in zip(rows, self._sketch(pictures), strict=True):
            if not sketch.textured:
                self.counts.guarded += 1
                continue
            entry, refused = self.memory.find(namespace, sketch, self._bounds)
            self.counts.refused += refused
            if entry is None or entry.outcome.confidence < least:
                self.counts.misses += 1
                probes[row] = Probe(self, namespace, sketch, None, request.caller)
            elif audit.draw():
                probes[row] = Probe(self, namespace, sketch, entry, request.caller)
            else:
                self.counts.hits += 1
                known[row] = entry.outcome
        return known, probes

    def record_answer(self, probe: Probe, outcome: Outcome, ttl_s: float) -> None:
        """Judge the entry that the probe audits by the computed answer; keep a confident answer."""
        if probe.audited is not None:
            self._record_audit(probe.audited, outcome, probe.caller)
        sure = outcome.confidence >= self._settings.least_confidence
        if sure and self._audits.of(probe.caller).on:
            self.memory.put(probe.namespace, probe.sketch, outcome, ttl_s)

    def describe(self) -> dict[str, object]:
        """Return the state of this version since it was loaded, for `GET /v1/routes`."""
        audits = self._audits
        return {
            "on": self.on,
            "callers_off": audits.off,
            "audits": audits.audits,
            "wrong": audits.wrong,
            "wrong_rate_at_least": audits.lower_bound(),
            **self._settings.model_dump(),
        }

    def _make_audit(self) -> Audit:
        settings = self._settings
        return Audit(
            rate=settings.audit_rate,
            burn_in=settings.audit_burn_in,
            seed=settings.audit_seed,
            max_wrong=settings.max_wrong,
            delta=settings.delta,
        )

    def _record_audit(self, audited: Entry, outcome: Outcome, caller: str) -> None:
        wrong = not all(
            np.array_equal(audited.outcome.outputs[name], outcome.outputs[name])
            for name in self._compared
        )
        self.counts.audits += 1
        self.counts.wrong += wrong
        if wrong:
            self.memory.remove(audited)
        if self._audits.record(caller, wrong=wrong):
            self.memory.clear()
            audit = self._audits.of(caller)
            _log.error(
                "perceptual cache of route %s is off for caller %r until the route reloads: %d of"
                " %d audited hits were wrong, so the rate is at least %.2g, allowed is %.2g",
                self._route,
                caller,
                audit.wrong,
                audit.audits,
                audit.lower_bound(),
                self._settings.max_wrong,
            )


class PerceptualRoutes:
    """The routes that the settings opt in, and their counts."""

    def __init__(self, settings: Mapping[str, PerceptualRouteSettings]) -> None:
        self._settings = settings
        self._counts: dict[str, PerceptualCounts] = {
            route: PerceptualCounts() for route in settings
        }
        self._unserved: set[str] = set()

    def open(self, manifest: Manifest) -> PerceptualRoute | None:
        """Return the perceptual cache of a route that loads; None if it is not opted in. Raises
        ModelDirectoryError if the route does not fit.
        """
        settings = self._settings.get(manifest.route)
        if settings is None:
            return None
        return PerceptualRoute(manifest, settings, self._counts[manifest.route])

    def report_unserved(self, routes: set[str]) -> None:
        """Log once which of the configured routes are not served."""
        missed = self._settings.keys() - routes
        for route in sorted(missed - self._unserved):
            _log.warning("cache.perceptual.routes.%s: no route of this name is served", route)
        self._unserved = missed


def _find_input(manifest: Manifest) -> str:
    """Return the route's only input, a picture. Raises ModelDirectoryError."""
    spec, *others = manifest.inputs
    picture = manifest.picture
    pictures = picture is not None and picture.input == spec.name and spec.datatype == "UINT8"
    if others or not pictures or len(spec.shape) not in {3, 4} or spec.shape[3:] not in _CHANNELS:
        raise _refuse(manifest, "allowed is one UINT8 picture, grey or of three colours, as input")
    if not manifest.cache.enabled:
        raise _refuse(manifest, "its route.toml says that it has no cache")
    return spec.name


def _find_compared_outputs(manifest: Manifest) -> list[str]:
    """Return the outputs whose difference makes an answer wrong. Raises ModelDirectoryError."""
    names = [spec.name for spec in manifest.outputs if not spec.datatype.startswith("FP")]
    if not names:
        raise _refuse(manifest, "an audit needs a label or another output of whole numbers")
    return names


def _refuse(manifest: Manifest, why: str) -> ModelDirectoryError:
    return ModelDirectoryError(f"cache.perceptual.routes.{manifest.route}: {why}")
