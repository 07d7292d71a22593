"""The report's part on the second tier of memory: targets and picture."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.plots import BASELINE, OURS, save
from benchmarks.results import Results
from benchmarks.verdicts import Row, at_least, at_most, each, median

KEYS = {"hit": "looking up what is there", "miss": "what is not", "store": "storing"}
SECOND, BIG, ALONE = "second process", "one big memory", "second process alone"
TRACES = ("conversation", "synthetic")
HEALED = ("killed", "paused", "slow, 50 ms", "full")  # the others end by themselves under load
TIMEOUT_MS = 10.0  # the setting's default
COLUMNS = {
    "cpu_us": "CPU µs/key",
    "redis_cpu_us": "CPU µs/key of Redis",
    "hit_rate": "hit rate",
    "keys": "keys",
    "plain_p99_ms": "p99 ms, no second tier",
    "well_p99_ms": "p99 ms, Redis well",
    "p99_ms": "p99 ms, fault",
    "slowest_ms": "slowest ms, fault",
    "counted": "keys counted as errors",
    "recovery_s": "s until used again",
}


def judge_remote(results: Results) -> list[Row]:
    """Every target of the second tier."""
    rows = [
        at_most(f"CPU a key in batches of 64, {words}", each(results, case, "cpu_us"), 20, "µs",
                f"and {results.median(case, 'redis_cpu_us'):.1f} µs of Redis's")
        for case, words in KEYS.items()
    ]  # fmt: skip
    for trace in TRACES:
        second, big, alone = (
            100 * each(results, f"{system} @ {trace}", "hit_rate")
            for system in (SECOND, BIG, ALONE)
        )
        why = f"{median(second):.2f} of {median(big):.2f} %; without Redis {median(alone):.2f} %"
        what = f"Hit rate of the second process below one big memory's, {trace}"
        rows.append(at_most(what, big - second, 2, "points", why, 2))
    for fault in list_faults(results):
        with_fault, plain = (each(results, fault, name) for name in ("p99_ms", "plain_p99_ms"))
        why = f"{median(with_fault):.1f} against {median(plain):.1f} ms without a second tier"
        what = f"Redis {fault}: added p99"
        rows.append(at_most(what, with_fault - plain, TIMEOUT_MS, "ms", why))
    return [*rows, *_judge_all_faults(results)]


def _judge_all_faults(results: Results) -> list[Row]:
    """What has to hold in every single run of every fault."""
    faults = list_faults(results)

    def gather(metric: str) -> list[float]:
        return [value for fault in faults for value in results.values(fault, metric)]

    recoveries = [max(max(results.values(fault, "recovery_s")) for fault in HEALED)]
    asked = f"of {sum(gather('requests')):,.0f}, before, during and after"
    return [
        at_most("Wrong answers, all faults", [sum(gather("wrong"))], 0, "", asked, 0),
        at_most("Errors, all faults", [sum(gather("errors"))], 0, "", asked, 0),
        at_least("Keys counted as errors, the least of any fault", [min(gather("counted"))], 1, "",
                 "`sparing_cache_remote_errors_total`", 0),
        at_most("Used again after healing, the slowest of any fault", recoveries, 3, "s",
                "an answer is found in it; the limit is ours"),
    ]  # fmt: skip


def list_faults(results: Results) -> list[str]:
    measured = [sample.case for sample in results.samples if sample.metric == "p99_ms"]
    return list(dict.fromkeys(measured))


def plot_remote(results: Results, path: Path) -> None:
    """What a key costs, what the second process finds, and p99 with each fault."""
    figure = Figure(figsize=(12, 4.2), layout="constrained")
    keys, rates, faults = figure.subplots(1, 3, width_ratios=(3, 3, 4))
    _draw_keys(keys, results)
    _draw_rates(rates, results)
    _draw_faults(faults, results)
    for axes in (keys, rates, faults):
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    save(figure, path)


def _draw_keys(axes: Axes, results: Results) -> None:
    places = np.arange(len(KEYS))
    for offset, metric, colour, label in (
        (-0.2, "cpu_us", OURS, "Sparing"), (0.2, "redis_cpu_us", BASELINE, "Redis"),
    ):  # fmt: skip
        values = [results.median(case, metric) for case in KEYS]
        bars = axes.bar(places + offset, values, 0.38, color=colour, label=label)
        axes.bar_label(bars, fmt="{:.1f}", fontsize=8)
    axes.set_xticks(places, [*KEYS])
    axes.set_title("CPU a key in batches of 64, µs", fontsize=10)
    axes.legend(frameon=False, fontsize=8)


def _draw_rates(axes: Axes, results: Results) -> None:
    places = np.arange(len(TRACES))
    for offset, system, colour in (
        (-0.27, ALONE, BASELINE), (0.0, SECOND, OURS), (0.27, BIG, "#1a7f37"),
    ):  # fmt: skip
        values = [100 * results.median(f"{system} @ {trace}", "hit_rate") for trace in TRACES]
        label = "second process, shared Redis" if system == SECOND else system
        bars = axes.bar(places + offset, values, 0.26, color=colour, label=label)
        axes.bar_label(bars, fmt="{:.1f}", fontsize=8)
    axes.set_xticks(places, TRACES)
    axes.margins(y=0.3)
    axes.set_title("hit rate of the second process, %", fontsize=10)
    axes.legend(frameon=False, fontsize=8, loc="upper left")


def _draw_faults(axes: Axes, results: Results) -> None:
    names = list_faults(results)
    places = np.arange(len(names))
    for offset, metric, colour, label in (
        (-0.2, "plain_p99_ms", BASELINE, "no second tier"),
        (0.2, "p99_ms", OURS, "Redis in trouble"),
    ):  # fmt: skip
        values = [results.median(fault, metric) for fault in names]
        bars = axes.barh(places + offset, values, 0.38, color=colour, label=label)
        axes.bar_label(bars, fmt="{:.1f}", padding=3, fontsize=8)
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    axes.margins(x=0.25)
    axes.set_title("p99 under load, ms", fontsize=10)
    axes.legend(frameon=False, fontsize=8, ncols=2, loc="upper center", bbox_to_anchor=(0.4, -0.06))
