"""The comparison's report on one data set, put together; both make one page."""

from benchmarks.compare.judge import TARGETS, judge_compare
from benchmarks.compare.plot import plot_compare
from benchmarks.compare.robust_tables import show_robustness
from benchmarks.compare.tables import (
    beside_the_paper,
    list_contestants,
    show_conversions,
    show_frozen,
)
from benchmarks.compare.verdict import write_verdict
from benchmarks.reporting.rendering import Report

DATA = tuple(TARGETS)
COLUMNS = {
    "lone_p50_ms": "lone p50 ms",
    "lone_device_us": "lone device µs",
    "lone_cpu_us": "lone CPU µs",
    "many_cpu_us": "many CPU µs",
    "many_pictures_s": "many pictures/s",
    "bulk_cpu_us": "bulk CPU µs",
    "bulk_device_us": "bulk device µs",
    "bulk_pictures_s": "bulk pictures/s",
}


def make_report(data: str) -> Report:
    return Report(
        f"What converting is worth on {data}",
        "Fourteen ways to the same labels, every net trained for as many epochs by one recipe, "
        "exported to one runtime, the whole test set. A net that begins from another's weights has "
        "that one's epochs besides: `branchynet` those of `lenet`, `encoder-only` those of the "
        "converter, whose encoder it is. Accuracy, MACs and robustness are of every seed, replayed "
        "in one process; time is of the first seed, through the real server over HTTP, memory off, "
        "all contestants in turns: `lone` one picture at a time, `many` 64 at a time, `bulk` 8 "
        "requests of 32 pictures at a time. CPU is that of the server's whole process tree, device "
        "time CPU time inside the stages, both a picture. Thresholds, gates and the best converter "
        "were chosen on held-out pictures.",
        judge_compare,
        plot_compare,
        COLUMNS,
        (
            write_verdict,
            list_contestants,
            beside_the_paper,
            show_robustness,
            show_frozen,
            show_conversions,
        ),
    )
