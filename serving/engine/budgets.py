"""Fits a request's budget of compute to its budget of energy."""

from core.messages import Request
from serving.engine.catalog import ServedRoute


def fit_request(request: Request, served: ServedRoute, rows: int) -> Request:
    """Return the request with the value of its pipeline's parameter that fits; the same request if
    it gives the value itself, has no limit, or nothing smaller than the route's default is needed
    or saves work.
    """
    fitting = served.fits_budgets
    if fitting is None or fitting.budget in request.controls:
        return request
    if request.energy_mj is None:
        return request
    lane = served.entry
    batch_rows = min(lane.rows + rows, lane.max_batch)
    row_s = lane.times.predict_s(batch_rows) / batch_rows
    row_mj = served.metrics.energy.estimate_mj(row_s)
    if not row_mj or request.energy_mj >= row_mj:
        return request
    value = fitting.fit_budget(request.energy_mj / row_mj, batch_rows)
    if value == served.defaults.get(fitting.budget):
        return request
    return request._replace(controls={**request.controls, fitting.budget: value})
