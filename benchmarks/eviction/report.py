"""Which entries a full cache drops: targets and plots."""

from benchmarks.reporting.pages import Report
from benchmarks.reporting.panels import Bars, Panel
from benchmarks.reporting.tables import Table, plain
from benchmarks.reporting.targets import Target, difference
from harness.results import Results

MEMORY, BELADY, BLIND = "memory", "Belady's optimum", "best without foresight"
ZIPF = "Zipf"
COLUMNS = plain({
    "hit_rate": "hit rate",
    "requests": "requests",
    "different": "different ones",
    "room": "room for answers",
})  # fmt: skip
TARGETS = tuple(
    Target(f"Hit rate on the Zipf stream below {words}",
           difference(f"{bound} @ {ZIPF}", f"{MEMORY} @ {ZIPF}", "hit_rate", 100), 3,
           unit="points", digits=2)
    for bound, words in ((BELADY, "Belady's, which knows the future"),
                         (BLIND, "the best without foresight"))
)  # fmt: skip


def draw(results: Results) -> list[Panel]:
    """Hit rates of every policy and bound, a panel a workload."""
    pairs = [case.split(" @ ") for case in results.cases()]
    panels: list[Panel] = []
    for load in dict.fromkeys(load for _, load in pairs):
        names = [name for name, where in pairs if where == load]
        rates = [100 * results.median(f"{name} @ {load}", "hit_rate") for name in names]
        others = [name for name in names if name != MEMORY]
        panels.append(Bars(f"{load}: hit rate, %", names, {"hit rate": rates}, 1, others))
    return panels


REPORT = Report("eviction", "cache", "Which entries a full cache drops", TARGETS, draw,
                [Table(COLUMNS)])  # fmt: skip
