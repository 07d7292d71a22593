"""Metrics switched off: nothing is counted. Replies still report the cost of their rows."""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from monitoring.energy.rate import EnergyRate
from monitoring.metrics.cache_counts import CacheCounts
from monitoring.metrics.counts import RouteMetrics
from monitoring.metrics.generation_counts import GenerationCounts
from monitoring.metrics.labelled import Labelled
from monitoring.metrics.rollout_counts import RolloutState
from monitoring.metrics.snapshot import Snapshot


class _NoCounts:
    """RouteMetrics that count nothing."""

    def __init__(self, energy: EnergyRate) -> None:
        self.energy = energy
        self.generation: GenerationCounts | None = None

    def count_rows(
        self, exit: str, stopped_by: str, latency_s: float, rows: int = 1, full_macs: int = 0
    ) -> None:
        pass

    def count_batch(
        self, stage: str, rows: int, queue_s: Sequence[tuple[float, int]], run_s: float
    ) -> None:
        pass

    def count_escalation(self, stage: str, rows: int) -> None:
        pass

    def count_cost(self, exit: str, device_s: float, macs: int) -> None:
        pass

    def add_exemplar(self, exit: str, latency_s: float, trace: str) -> None:
        pass


class NoMetrics:
    """The interface of `Metrics`, which counts nothing."""

    enabled = False

    def __init__(self) -> None:
        self.energy = EnergyRate()

    def add_route(
        self,
        route: str,
        stages: Sequence[str],
        exits: Sequence[str] | None = None,
        *,
        generates: bool = False,
    ) -> RouteMetrics:
        return _NoCounts(self.energy)

    def remove_route(self, route: str) -> None:
        pass

    def count_request(self, route: str | None, result: str, requests: int = 1) -> None:
        pass

    def request_results(self, route: str) -> Mapping[str, int]:
        return {}

    def add_cache_reader(self, read: Callable[[], CacheCounts]) -> None:
        pass

    def add_perceptual_reader(self, read: Callable[[], Mapping[str, Mapping[str, int]]]) -> None:
        pass

    def add_reader(self, read: Callable[[], Labelled]) -> None:
        pass

    def add_rollout_reader(self, read: Callable[[], Sequence[RolloutState]]) -> None:
        pass

    def device_s_by_exit(self) -> Mapping[tuple[str, str], float]:
        return {}

    def snapshot(self) -> Snapshot:
        return ()

    def render(self) -> tuple[bytes, str]:
        return b"", "text/plain; charset=utf-8"

    def set_scraper(self, gather: Callable[[], Awaitable[bytes]]) -> None:
        pass

    async def scrape(self, accept: str = "", /) -> tuple[bytes, str]:
        return self.render()
