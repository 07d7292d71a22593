"""Early exits on a large net: targets and plots."""

from benchmarks.reporting.pages import Report
from benchmarks.reporting.panels import Bars, Panel
from benchmarks.reporting.tables import Table, plain
from benchmarks.reporting.targets import FAULTS, Target, difference, ratio, value
from harness.results import Results

WHOLE, EXITS, NO_REBATCH = "whole", "exits", "exits-no-rebatch"
WORDS = {
    WHOLE: "the net without exits, batched",
    EXITS: "with two exits, batched again at each",
    NO_REBATCH: "with two exits, alone behind the first",
}
COLUMNS = plain({
    "accuracy": "accuracy",
    "macs": "MACs/picture",
    "reached_1": "reach stage 1",
    "reached_2": "reach stage 2",
    "reached_3": "reach stage 3",
    "device_us": "device µs/picture",
    "cpu_us": "CPU µs/request",
    "requests_s": "requests/s",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
})  # fmt: skip
TARGETS = (
    Target("Batched device time of the net without exits", value(WHOLE, "device_us"),
           at_least=500, unit="µs a picture", digits=0),
    Target("Requests/s with two exits, of the same net's without",
           ratio(EXITS, WHOLE, "requests_s"), at_least=1.5, unit="×", digits=2),
    Target("Accuracy lost by leaving early", difference(WHOLE, EXITS, "accuracy", 100), 0.5,
           unit="points", digits=2),
    Target("p99 with two exits, of the same net's without", ratio(EXITS, WHOLE, "p99_ms"), 1,
           unit="×", digits=2),
    FAULTS,
)  # fmt: skip


def draw(results: Results) -> list[Panel]:
    return [
        Bars(title, [*WORDS.values()], {metric: [results.median(case, metric) for case in WORDS]},
             grey={WORDS[WHOLE]})
        for metric, title in (("requests_s", "requests/s at 64 connections"),
                              ("device_us", "time inside the stages a picture, µs"))
    ]  # fmt: skip


REPORT = Report("exits", "exits", "What early exits save", TARGETS, draw, [Table(COLUMNS)])
