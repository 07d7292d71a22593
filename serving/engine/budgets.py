"""Fits a request's budget of compute to its budget of energy, or of time."""

from core.budgets import fits_deadlines
from core.messages import Request
from serving.engine.catalog import ServedRoute


def fit_request(request: Request, served: ServedRoute, rows: int, now: float) -> Request:
    """Return the request with the value of its pipeline's parameter that fits; the same request if
    it gives the value itself, has no limit, or nothing smaller than the route's default is needed
    or saves work.
    """
    fitting = served.fits_budgets
    if fitting is None or fitting.budget in request.controls:
        return request
    by_time = request.deadline is not None and fits_deadlines(fitting)
    if request.energy_mj is None and not by_time:
        return request
    lane = served.entry
    batch_rows = min(lane.rows + rows, lane.max_batch)
    batch_s = lane.times.predict_s(batch_rows)
    shares = []
    row_mj = served.metrics.energy.estimate_mj(batch_s / batch_rows)
    if request.energy_mj is not None and row_mj:
        shares.append(request.energy_mj / row_mj)
    if by_time and request.deadline is not None and batch_s > 0:
        shares.append((request.deadline - now) / batch_s)
    share = min(shares, default=1.0)
    if share >= 1.0:
        return request
    value = fitting.fit_budget(share, batch_rows)
    if value == served.defaults.get(fitting.budget):
        return request
    return request._replace(controls={**request.controls, fitting.budget: value})
