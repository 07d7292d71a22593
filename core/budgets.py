"""Pipelines whose cost follows a request parameter, so that a row can be fitted to its budget.

If a request has an energy budget or a deadline, but does not give that parameter itself, the engine
predicts the row's cost, and asks the pipeline for the largest value that fits.
"""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from core.messages import Array, Control, Pipeline


@runtime_checkable
class FitsBudgets(Protocol):
    """A pipeline with such a parameter, a number."""

    @property
    def budget(self) -> str:
        """The name of the parameter, which the route declares."""

    def has_budget(self, inputs: Mapping[str, Array], controls: Mapping[str, Control], /) -> bool:
        """Return whether the parameter decides the cost of a request with these."""

    def fit_budget(self, share: float, rows: int, /) -> float:
        """Return the largest value, at most the route's default, for which a batch of so many rows
        is predicted to cost no more than `share` of what it costs at the default. If there is none,
        the cheapest value.
        """

    def count_further(self, controls: Mapping[str, Control], /) -> int:
        """Return how many further steps a row takes at most after its first stage, each in the
        stages that follow it.
        """

    def predict_share(self, value: float, rows: int, /) -> float:
        """Return what the first stage is predicted to cost at this value, relative to its cost at
        the route's default; more than 0. All of so many rows in a batch have the value.
        """


def find_budget_fitting(pipeline: Pipeline) -> FitsBudgets | None:
    """Return the pipeline as one that fits budgets; None if its cost follows no parameter."""
    return pipeline if isinstance(pipeline, FitsBudgets) else None
