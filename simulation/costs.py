"""What requests cost: milliseconds of every stage, how many rows go on, how many are cached.

Reads JSON of two forms: the project's own, and what `GET /v1/routes` of a running server returns.
The second has times of batches, but no share of rows that go on; these come from the counters of
`/metrics` or from the caller.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

MAX_MS = 3_600_000.0
MAX_DRAWN = 10_000  # measured values from which one is drawn for each request


@dataclass(frozen=True, slots=True)
class StageCosts:
    """One stage: a batch takes a fixed time and a time for each row."""

    name: str
    one_row_ms: float
    full_batch_ms: float
    max_batch: int
    escalation: float | None = None  # share of its rows that go on; None: not known

    def list_batch_times_s(self) -> list[float]:
        """Return the seconds of a batch by its number of rows, from 0 to `max_batch`."""
        more = self.max_batch - 1
        row_ms = max(0.0, self.full_batch_ms - self.one_row_ms) / more if more else 0.0
        return [0.0, *((self.one_row_ms + row_ms * rows) / 1e3 for rows in range(self.max_batch))]


@dataclass(frozen=True, slots=True)
class RouteCosts:
    """A route: its share of all requests, the share answered from the cache, and its stages."""

    name: str
    stages: Sequence[StageCosts]
    share: float = 1.0
    hit_rate: float = 0.0

    def list_reached(self, factor: float = 1.0) -> list[float]:
        """Return the share of computed rows that reach each stage, 1 for the first; `factor`
        multiplies how many go on from each stage, up to all of them.
        """
        reached = [1.0]
        for stage in self.stages[:-1]:
            reached.append(reached[-1] * min(1.0, (stage.escalation or 0.0) * factor))
        return reached

    def device_ms(self, factor: float = 1.0) -> float:
        """Return the mean device milliseconds of a request in full batches."""
        return (1.0 - self.hit_rate) * sum(
            share * stage.full_batch_ms / stage.max_batch
            for share, stage in zip(self.list_reached(factor), self.stages, strict=True)
        )


@dataclass(frozen=True, slots=True)
class Costs:
    """All routes, and what a request costs outside its stages."""

    routes: Sequence[RouteCosts]
    overhead_ms: float = 0.0  # of the server's event loop, which works on one request at a time
    # What else a request takes: the way there and back, and waking up what sleeps. Measured values,
    # one of which is drawn for each request.
    network_ms: tuple[float, ...] = (0.0,)


def read_costs(path: Path) -> Costs:
    """Read costs from a JSON file. Raises ValueError with one sentence."""
    try:
        table = json.loads(path.read_bytes())
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error})") from error
    return parse_costs(table, str(path))


def parse_costs(table: Any, source: str) -> Costs:  # Any: decoded JSON
    """Return the costs in decoded JSON of either form; of several versions of a route, those of
    the newest. Raises ValueError with one sentence that begins with `source`.
    """
    entries = table.get("routes") if isinstance(table, dict) else None
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"{source}: has no list of routes, such as GET /v1/routes returns")
    routes: dict[str, RouteCosts] = {}
    for entry in sorted(entries, key=_find_version):
        route = _parse_route(entry, source)
        routes[route.name] = route
    return Costs(
        tuple(routes.values()),
        _read_number(table, "overhead_ms", source, 0.0, MAX_MS, default=0.0),
        _read_network(table.get("network_ms", 0.0), source),
    )


def _read_network(value: Any, source: str) -> tuple[float, ...]:  # Any: decoded JSON
    values = value if isinstance(value, list) else [value]
    if not 1 <= len(values) <= MAX_DRAWN:
        raise ValueError(
            f"{source}: network_ms: given {len(values)} values, allowed 1 to {MAX_DRAWN}"
        )
    return tuple(
        _read_number({"network_ms": one}, "network_ms", source, 0.0, MAX_MS) for one in values
    )


def write_costs(path: Path, costs: Costs) -> None:
    """Write the project's own form, which `read_costs` reads. Raises ValueError."""
    table = {
        "overhead_ms": costs.overhead_ms,
        "network_ms": costs.network_ms[0] if len(costs.network_ms) == 1 else [*costs.network_ms],
        "routes": [
            {
                "route": route.name,
                "share": route.share,
                "hit_rate": route.hit_rate,
                "stages": [
                    {
                        "name": stage.name,
                        "one_row_ms": stage.one_row_ms,
                        "full_batch_ms": stage.full_batch_ms,
                        "max_batch": stage.max_batch,
                        "escalation": stage.escalation,
                    }
                    for stage in route.stages
                ],
            }
            for route in costs.routes
        ],
    }
    try:
        path.write_text(json.dumps(table, indent=2) + "\n")
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from error


def choose_routes(costs: Costs, shares: Mapping[str, float | None]) -> Costs:
    """Keep the named routes, each with its share of the requests (None: as it is); without names,
    all. Raises ValueError for an unknown name.
    """
    known = {route.name: route for route in costs.routes}
    if unknown := [name for name in shares if name not in known]:
        raise ValueError(f"--route: given {unknown[0]!r}, allowed {', '.join(known)}")
    kept = [
        known[name] if share is None else replace(known[name], share=share)
        for name, share in shares.items()
    ]
    return replace(costs, routes=tuple(kept or known.values()))


def set_escalation(costs: Costs, rates: Mapping[str, float]) -> Costs:
    """Replace the share of rows that go on from the named stages. A name is a stage, or
    `route/stage` if several routes have it. Raises ValueError if a stage does not exist.
    """
    known = {
        name: stage
        for route in costs.routes
        for stage in route.stages[:-1]
        for name in (stage.name, f"{route.name}/{stage.name}")
    }
    if unknown := [name for name in rates if name not in known]:
        allowed = ", ".join(name for name in known if "/" not in name) or "none: no route has two"
        raise ValueError(f"--escalation: no stage {unknown[0]!r} before a last one: {allowed}")
    return replace(
        costs,
        routes=tuple(
            replace(
                route,
                stages=tuple(
                    replace(
                        stage,
                        escalation=rates.get(
                            f"{route.name}/{stage.name}", rates.get(stage.name, stage.escalation)
                        ),
                    )
                    for stage in route.stages
                ),
            )
            for route in costs.routes
        ),
    )


def require_complete(costs: Costs) -> None:
    """Raise ValueError if an escalation rate is not known, or if all shares are 0."""
    for route in costs.routes:
        for stage in route.stages[:-1]:
            if stage.escalation is None:
                raise ValueError(
                    f"stage {stage.name} of route {route.name}: the share of rows that go on is "
                    f"not known; give --escalation {stage.name}=RATE"
                )
    if sum(route.share for route in costs.routes) <= 0.0:
        raise ValueError("share: all shares of routes are 0")


def _find_version(entry: Any) -> int:  # Any: decoded JSON
    text = str(entry.get("version", "")) if isinstance(entry, dict) else ""
    return int(text) if text.isdigit() else 0


def _parse_route(entry: Any, source: str) -> RouteCosts:  # Any: decoded JSON
    name = entry.get("route") if isinstance(entry, dict) else None
    if not isinstance(name, str):
        raise ValueError(f"{source}: an entry of routes has no name in the key route")
    place = f"{source}, route {name}"
    stages, profile = entry.get("stages"), entry.get("profile", {})
    if not isinstance(stages, list) or not stages or not isinstance(profile, dict):
        raise ValueError(f"{place}: has no list of stages")
    return RouteCosts(
        name,
        tuple(_parse_stage(stage, profile, place) for stage in stages),
        _read_number(entry, "share", place, 0.0, 1e9, default=1.0),
        _read_number(entry, "hit_rate", place, 0.0, 1.0, default=0.0),
    )


def _parse_stage(stage: Any, profile: Mapping[str, Any], place: str) -> StageCosts:  # decoded JSON
    name = stage.get("name") if isinstance(stage, dict) else None
    if not isinstance(name, str):
        raise ValueError(f"{place}: a stage has no name")
    live = profile.get(name)
    figures = {**stage, **(live if isinstance(live, dict) else {})}
    where = f"{place}, stage {name}"
    known = figures.get("escalation") is not None
    return StageCosts(
        name,
        _read_number(figures, "one_row_ms", where, 1e-6, MAX_MS),
        _read_number(figures, "full_batch_ms", where, 1e-6, MAX_MS),
        _read_whole(figures, "max_batch", where),
        _read_number(figures, "escalation", where, 0.0, 1.0) if known else None,
    )


def _read_number(
    table: Mapping[str, Any],
    key: str,
    place: str,
    least: float,
    most: float,
    default: float | None = None,
) -> float:
    value = table.get(key, default)
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = float(value)
        if math.isfinite(number) and least <= number <= most:
            return number
    raise ValueError(f"{place}: {key}: given {value!r}, allowed {least:g} to {most:g}")


def _read_whole(table: Mapping[str, Any], key: str, place: str) -> int:
    number = _read_number(table, key, place, 1, 1024)
    if number != int(number):
        raise ValueError(f"{place}: {key}: given {number}, allowed a whole number")
    return int(number)


def add_counts(costs: Costs, gone_on: Mapping[tuple[str, str], float],
               batch_rows: Mapping[tuple[str, str], float],
               answered: Mapping[tuple[str, str], float]) -> Costs:  # fmt: skip
    """Add what a server counted since its start: rows that went on and rows in batches, by route
    and stage, and answered rows by route and reason. What it did not count stays as it is.
    """
    return replace(
        costs, routes=tuple(_add_counts(one, gone_on, batch_rows, answered) for one in costs.routes)
    )


def _add_counts(
    route: RouteCosts,
    gone_on: Mapping[tuple[str, str], float],
    batch_rows: Mapping[tuple[str, str], float],
    answered: Mapping[tuple[str, str], float],
) -> RouteCosts:
    def measure(stage: StageCosts) -> StageCosts:
        rows = batch_rows.get((route.name, stage.name), 0.0)
        if not rows:
            return stage
        rate = gone_on.get((route.name, stage.name), 0.0) / rows
        return replace(stage, escalation=min(1.0, rate))

    stages = (*map(measure, route.stages[:-1]), route.stages[-1])
    total = _sum_of(answered, route.name)
    hits = answered.get((route.name, "cache"), 0.0)
    return replace(route, stages=stages, hit_rate=hits / total if total else route.hit_rate)


def _sum_of(counts: Mapping[tuple[str, str], float], route: str) -> float:
    values: Iterable[float] = (count for (of, _), count in counts.items() if of == route)
    return sum(values)
