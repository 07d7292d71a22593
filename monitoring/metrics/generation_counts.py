"""Counts of routes that answer in tokens: tokens, their times, device time and joules by stage.

An exit is the share of visual tokens that a row's layers read. Answers from a cache do not count.
"""

from collections.abc import Iterator, Mapping

from core.generation import TokenCounts
from monitoring.energy.rate import EnergyRate
from monitoring.metrics.counts import SECONDS, Histogram
from monitoring.metrics.snapshot import Family, MetricInfo

TOKENS: Mapping[str, MetricInfo] = {
    "prompt_tokens": MetricInfo(
        "counter", "Tokens of prompts, visual tokens included.", ("route", "exit")
    ),
    "visual_tokens": MetricInfo("counter", "Visual tokens of prompts.", ("route", "exit")),
    "visual_tokens_kept": MetricInfo(
        "counter",
        "Visual tokens of prompts that a layer read, on average over layers.",
        ("route", "exit"),
    ),
    "generated_tokens": MetricInfo("counter", "Tokens of answers.", ("route", "exit")),
}


class ExitCounts:
    """Counts of the answers of one exit."""

    __slots__ = ("first", "token", "tokens")

    def __init__(self) -> None:
        self.tokens = dict.fromkeys(TOKENS, 0.0)
        self.first = Histogram(SECONDS)
        self.token = Histogram(SECONDS)


class GenerationCounts:
    """Counts of one route; only the event loop's thread changes them."""

    __slots__ = ("device_s", "energy_j", "exits")

    def __init__(self) -> None:
        self.exits: dict[str, ExitCounts] = {}
        self.device_s: dict[tuple[str, str], float] = {}  # by stage and exit
        self.energy_j: dict[tuple[str, str, str], float] = {}  # and by the joules' source

    def count_answer(
        self, exit: str, counts: TokenCounts, first_s: float, latency_s: float
    ) -> None:
        """Count a computed answer: its tokens, and its seconds to the first token and the last."""
        found = self.exits.get(exit)
        if found is None:
            found = self.exits[exit] = ExitCounts()
        tokens = found.tokens
        tokens["prompt_tokens"] += counts.prompt
        tokens["visual_tokens"] += counts.visual
        tokens["visual_tokens_kept"] += counts.kept
        tokens["generated_tokens"] += counts.generated
        found.first.observe(first_s)
        if counts.generated > 1:
            further = counts.generated - 1
            found.token.observe((latency_s - first_s) / further, further)

    def count_device_s(self, stage: str, exit: str, device_s: float, energy: EnergyRate) -> None:
        """Count device seconds of a stage for rows of one exit, and what they cost at this rate."""
        key = (stage, exit)
        self.device_s[key] = self.device_s.get(key, 0.0) + device_s
        energy_mj = energy.estimate_mj(device_s)
        if energy_mj is not None:
            by_source = (*key, energy.source)
            self.energy_j[by_source] = self.energy_j.get(by_source, 0.0) + energy_mj / 1e3


def make_families(routes: Mapping[str, GenerationCounts]) -> Iterator[Family]:
    """Yield the metrics of these routes; without any, none."""
    if routes:
        yield from _make_token_families(routes)
        yield from _make_time_families(routes)
        yield from _make_cost_families(routes)


def _make_token_families(routes: Mapping[str, GenerationCounts]) -> Iterator[Family]:
    for name, info in TOKENS.items():
        family = Family(f"sparing_{name}", *info)
        for route, exit, found in _list_exits(routes):
            family.add((route, exit), found.tokens[name])
        yield family


def _make_time_families(routes: Mapping[str, GenerationCounts]) -> Iterator[Family]:
    first = Family(
        "sparing_first_token_seconds",
        "histogram",
        "Time from a row's arrival in the engine to its first token.",
        ("route", "exit"),
    )
    token = Family(
        "sparing_token_seconds",
        "histogram",
        "Time for each token of an answer after the first.",
        ("route", "exit"),
    )
    for route, exit, found in _list_exits(routes):
        first.add_histogram((route, exit), found.first)
        token.add_histogram((route, exit), found.token)
    yield from (first, token)


def _make_cost_families(routes: Mapping[str, GenerationCounts]) -> Iterator[Family]:
    device = Family(
        "sparing_generation_device_seconds",
        "counter",
        "Device time of rows, by stage and share of visual tokens.",
        ("route", "stage", "exit"),
    )
    energy = Family(
        "sparing_generation_energy_joules",
        "counter",
        "Estimated device energy of rows in joules, by stage and share of visual tokens.",
        ("route", "stage", "exit", "source"),
    )
    for route, counts in routes.items():
        for (stage, exit), device_s in counts.device_s.copy().items():
            device.add((route, stage, exit), device_s)
        for labels, energy_j in counts.energy_j.copy().items():
            energy.add((route, *labels), energy_j)
    yield from (device, energy)


def _list_exits(routes: Mapping[str, GenerationCounts]) -> Iterator[tuple[str, str, ExitCounts]]:
    for route, counts in routes.items():
        for exit, found in counts.exits.copy().items():
            yield route, exit, found
