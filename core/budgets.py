"""Pipelines whose cost follows a request parameter, so that a row can be fitted to its budget.

Where a request has an energy budget, or for some pipelines a deadline, but does not give that
parameter itself, the engine predicts the row's cost, and asks the pipeline for the largest value
that fits.
"""

from typing import Protocol, runtime_checkable

from core.messages import Pipeline


@runtime_checkable
class FitsBudgets(Protocol):
    """A pipeline with such a parameter, a number."""

    @property
    def budget(self) -> str:
        """The name of the parameter, which the route declares."""

    def fit_budget(self, share: float, rows: int, /) -> float:
        """Return the largest value, at most the route's default, for which a batch of so many rows
        is predicted to cost no more than `share` of what it costs at the default. If there is none,
        the cheapest value.
        """


@runtime_checkable
class FitsDeadlines(FitsBudgets, Protocol):
    """One that lowers the parameter for a deadline, too, so that its first stage ends in time."""

    @property
    def fits_deadlines(self) -> bool: ...


def find_budget_fitting(pipeline: Pipeline) -> FitsBudgets | None:
    """Return the pipeline as one that fits budgets; None if its cost follows no parameter."""
    return pipeline if isinstance(pipeline, FitsBudgets) else None


def fits_deadlines(pipeline: FitsBudgets) -> bool:
    """Return whether the parameter is lowered for deadlines."""
    return isinstance(pipeline, FitsDeadlines) and pipeline.fits_deadlines
