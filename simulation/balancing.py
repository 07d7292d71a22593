"""Balancers: which ready pod gets the next request."""

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter

from simulation.pod import Pod

Balancer = Callable[[Sequence[Pod], int], Pod]  # of ready pods, and how many were chosen before

_rank = attrgetter("rank")


def choose_in_turn(pods: Sequence[Pod], turn: int) -> Pod:
    """Round robin."""
    return pods[turn % len(pods)]


def choose_least_outstanding(pods: Sequence[Pod], turn: int) -> Pod:
    """The fewest unanswered requests; among equals, the one that was chosen longest ago."""
    return min(pods, key=_rank)


BALANCERS: Mapping[str, Balancer] = {
    "least-outstanding": choose_least_outstanding,
    "round-robin": choose_in_turn,
}
