"""Fits a request's budget of compute to its budget of energy, or of time."""

from collections.abc import Callable
from typing import NamedTuple

from core.messages import Request
from serving.engine.catalog import ServedRoute
from serving.scheduling.prediction import drain_s


class Fitted(NamedTuple):
    """A request as it runs, and the predicted cost of its rows' first stage, of that at the route's
    default budget.
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
    it gives the value itself, has no limit, or nothing smaller than the route's default is needed
    or saves work.

    `left_s`: until its deadline. `predict_s` predicts the seconds until rows that arrive now, with
    the default, have been through their first stage.
    """
    fitting = served.fits_budgets
    if fitting is None:
        return Fitted(request)
    given = request.controls.get(fitting.budget)
    if given is None and request.energy_mj is None and request.deadline is None:
        return Fitted(request)
    lane = served.entry
    batch_rows = min(lane.rows + rows, lane.max_batch)
    if given is not None:
        return Fitted(request, fitting.predict_share(float(given), batch_rows))
    share = _find_share(request, served, rows, batch_rows, left_s, predict_s)
    if share >= 1.0:
        return Fitted(request)
    value = fitting.fit_budget(share, batch_rows)
    if value == served.defaults.get(fitting.budget):
        return Fitted(request)
    controls = {**request.controls, fitting.budget: value}
    return Fitted(request._replace(controls=controls), fitting.predict_share(value, batch_rows))


def _find_share(
    request: Request,
    served: ServedRoute,
    rows: int,
    batch_rows: int,
    left_s: float,
    predict_s: Callable[[], float],
) -> float:
    """Return the share of the cost at the route's default that the request's limits allow."""
    lane = served.entry
    share = 1.0
    if request.energy_mj is not None:
        row_s = lane.times.predict_s(batch_rows) / batch_rows
        if row_mj := served.metrics.energy.estimate_mj(row_s):
            share = request.energy_mj / row_mj
    own_s = drain_s(lane, rows)
    if request.deadline is not None and own_s > 0.0:
        share = min(share, 1.0 - (predict_s() - left_s) / own_s)
    return share
