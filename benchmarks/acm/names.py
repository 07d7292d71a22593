"""The cases by name, as measurement and report both use them.

A case of accuracy is `<family>, <point>`; a family is a curve of accuracy against cost.
"""

TEACHER, FURTHER = "dense, teacher", "dense, trained on"
ACM, FITTED, SINGLE = "acm", "acm fitted", "single"
FAMILIES = {  # of baselines: what the report calls them
    "smaller": "smaller nets, distilled",
    "exits-frozen": "early exits, frozen trunk",
    "exits-trained": "early exits, trunk trained",
    "merging-untrained": "merged tokens, no training",
    "merging": "merged tokens, trained",
}
BETAS = (0.0, 0.1, 0.25, 0.35, 0.5, 0.6, 0.75, 1.0)
TIMED_BETAS = (0.35, 0.5)
FITTED_SHARES = (0.35, 0.5)  # of the dense net's MACs
BATCHES, THREADS = (1, 16, 64), (1, 2)
LAYER_ROWS = 8
SERVED_ROUTES = {"dense": "fashion-mnist-vit", "acm": "fashion-mnist-acm"}
SERVED_CONNECTIONS = (64, 1)
SERVED = "served, {}, {} at once"
ABLATIONS = {
    "ablation-all": "all losses",
    "ablation-no-entropy": "without L_e",
    "ablation-no-diversity": "without L_d",
    "ablation-budget-alone": "without both",
}


def point(family: str, at: str | float) -> str:
    """A case of accuracy; a number is a budget."""
    return f"{family}, {at}" if isinstance(at, str) else f"{family}, β {at:g}"


def fitted(share: float) -> str:
    """The net for every budget, at the budget whose cost is nearest to this share of the dense
    net's."""
    return point(FITTED, f"{100 * share:.0f} % of MACs")


def timed(rows: int, beta: float, threads: int) -> str:
    """A case of time, of the whole net."""
    return f"{_count(rows, 'picture')}, β {beta:g}, {_count(threads, 'thread')}"


def timed_layer(shape: str, beta: float, threads: int) -> str:
    """A case of time, of one layer."""
    return f"{shape} layer, β {beta:g}, {_count(threads, 'thread')}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
