"""Fits a request's budget of compute to its deadline and its budget of energy."""

import math
from collections.abc import Callable

from core.messages import Request
from serving.engine.catalog import ServedRoute
from serving.scheduling.prediction import drain_s


def fit_request(
    request: Request,
    served: ServedRoute,
    rows: int,
    time_left_s: float,
    predict_s: Callable[[], float],
) -> Request:
    """Return the request with the value of its pipeline's parameter that fits; the same request if
    it gives the value itself, has no limit, or the route's default fits.

    `predict_s` predicts the time until rows that arrive now are answered.
    """
    fitting = served.fits_budgets
    if fitting is None or fitting.budget in request.controls:
        return request
    if request.deadline is None and request.energy_mj is None:
        return request
    lane = served.entry
    batch_rows = min(lane.rows + rows, lane.max_batch)
    share = math.inf
    own_s = drain_s(lane, rows)
    if request.deadline is not None and own_s > 0.0:
        waiting_s = predict_s() - own_s
        share = (time_left_s - waiting_s) / own_s
    if request.energy_mj is not None:
        row_s = lane.times.predict_s(batch_rows) / batch_rows
        row_mj = served.metrics.energy.estimate_mj(row_s)
        if row_mj:
            share = min(share, request.energy_mj / row_mj)
    if share >= 1.0:
        return request
    value = fitting.fit_budget(share, batch_rows)
    return request._replace(controls={**request.controls, fitting.budget: value})
