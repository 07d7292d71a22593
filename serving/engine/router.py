"""Chooses the route that answers `auto:<task>`: the cheapest one that can answer in time.

Cost is the mean number of MACs counted on held-out data. If the deadline rules a route out, the
next cheapest is tried; if none can be in time, the one with the earliest predicted end is chosen.
"""

import time
from collections.abc import Callable, Sequence

from core.errors import UnknownRoute
from serving.engine.catalog import AUTO, Catalog, ServedRoute

# Seconds that a route is predicted to need for a row that arrives now and is due at that time.
PredictSeconds = Callable[[ServedRoute, float], float]


def choose_route(
    catalog: Catalog, name: str, deadline: float | None, predict_s: PredictSeconds
) -> ServedRoute:
    """Return the chosen route. Raises UnknownRoute if no route serves the task."""
    task = name.removeprefix(AUTO)
    routes = [route for route in catalog.newest() if route.manifest.task == task]
    if not routes:
        raise UnknownRoute(
            f"no route serves the task {task[:128]!r}; there are {sorted(catalog.tasks())[:20]}"
        )
    cheapest_first = sorted(routes, key=lambda route: route.manifest.expected_macs)
    first = cheapest_first[0].manifest  # endpoints check the task's requests against this one
    cheapest_first = [
        route
        for route in cheapest_first
        if (route.manifest.inputs, route.manifest.parameters) == (first.inputs, first.parameters)
    ]
    if deadline is None:
        return cheapest_first[0]
    return _first_in_time(cheapest_first, deadline, predict_s)


def _first_in_time(
    routes: Sequence[ServedRoute], deadline: float, predict_s: PredictSeconds
) -> ServedRoute:
    left_s = deadline - time.monotonic()
    needed_s = [predict_s(route, deadline) for route in routes]
    for route, seconds in zip(routes, needed_s, strict=True):
        if seconds <= left_s:
            return route
    return routes[needed_s.index(min(needed_s))]
