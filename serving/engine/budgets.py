"""Fits a request's budget of compute to its budget of energy, or of time."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from core.messages import Request
from serving.engine.catalog import ServedRoute
from serving.scheduling.prediction import extra_s, predict_own_s

TIME_USED = 0.85  # of what a deadline leaves: a batch may take longer than predicted


class Fitted(NamedTuple):
    """A request as it runs, and the predicted cost of its rows' first stage, relative to that at
    the route's default budget.
    """

    request: Request
    cost_share: float = 1.0


def fit_request(
    request: Request,
    served: ServedRoute,
    rows: int,
    left_s: float,
    predict_s: Callable[[], float],
) -> Fitted:
    """Return the request with the value of its pipeline's parameter that fits; the same request if
    it gives another value than the default, has no limit, or nothing smaller than the default is
    needed or saves work.

    `left_s`: seconds until an answer must be there, if the request has a deadline. `predict_s`
    predicts the seconds until rows like the recent ones, if they arrive now, have been through
    their first stage.
    """
    fitting = served.fits_budgets
    if fitting is None or not fitting.has_budget(request.inputs, request.controls):
        return Fitted(request)
    given = request.controls.get(fitting.budget)
    if given is None and request.energy_mj is None and request.deadline is None:
        return Fitted(request)
    lane = served.entry
    batch_rows = min(lane.rows + rows, lane.max_batch)
    if given is not None:
        return Fitted(request, fitting.predict_share(float(given), batch_rows))
    further = fitting.count_further(request.controls)
    share = min(
        _find_energy_share(request, served, batch_rows, further),
        _find_time_share(request, served, rows, left_s, predict_s, further),
    )
    if share >= 1.0:
        return Fitted(request)
    value = fitting.fit_budget(share, batch_rows)
    if value == served.defaults.get(fitting.budget):
        return Fitted(request)
    controls = {**request.controls, fitting.budget: value}
    return Fitted(request._replace(controls=controls), fitting.predict_share(value, batch_rows))


def _find_energy_share(
    request: Request, served: ServedRoute, batch_rows: int, further: int
) -> float:
    """Return the share of the default's cost in the first stage that the request's joules allow."""
    if request.energy_mj is None:
        return 1.0
    lane, energy = served.entry, served.metrics.energy
    row_s = lane.times.predict_s(batch_rows) / lane.mean_share / batch_rows
    row_mj = energy.estimate_mj(row_s)
    later_s = sum(step_s / rows for step_s, rows in _list_steps(served, 1)) if further else 0.0
    later_mj = energy.estimate_mj(further * later_s) or 0.0
    return (request.energy_mj - later_mj) / row_mj if row_mj else 1.0


def _list_steps(served: ServedRoute, rows: int) -> Iterator[tuple[float, int]]:
    """Yield for each stage after the first the predicted seconds and the rows of a batch with these
    rows in it.
    """
    for lane in served.lanes.values():
        if lane is not served.entry:
            batch_rows = min(lane.rows + rows, lane.max_batch)
            yield lane.times.predict_s(batch_rows), batch_rows


def _find_time_share(
    request: Request,
    served: ServedRoute,
    rows: int,
    left_s: float,
    predict_s: Callable[[], float],
    further: int,
) -> float:
    """Return the share of the default's cost in the first stage that the request's deadline
    allows.
    """
    own_s = predict_own_s(served.entry, rows, 1.0)
    if request.deadline is None or own_s <= 0.0:
        return 1.0
    later_s = sum(step_s for step_s, _ in _list_steps(served, rows)) if further else 0.0
    late_s = predict_s() + extra_s(served.entry, rows, 1.0) - TIME_USED * left_s
    late_s += further * later_s
    return 1.0 - late_s / own_s
