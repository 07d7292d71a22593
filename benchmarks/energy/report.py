"""The report on energy: targets and picture."""

from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.reporting.plots import BASELINE, OURS, save
from benchmarks.reporting.verdicts import Row, at_most, each, median
from harness.results import Results

SOURCES = ("none", "rapl", "nvml", "ina3221", "pmic", "model")  # as numbers in the samples
LARGE, DUAL, MEMORY = "CIFAR-10, large", "CIFAR-10, dual", "CIFAR-10, dual + memory, each twice"
GREY_LARGE, GREY_DUAL, EXITS = (
    f"Fashion-MNIST, {name}" for name in ("large", "dual", "early exits")
)
COLUMNS: dict[str, str] = {
    "accounts_of_meter": "accounts / meter",
    "meter_of_truth": "meter / truth",
    "accounts_of_truth": "accounts / truth",
    "rows_of_account": "rows / their account",
    "billed_of_neighbour": "billed of the neighbour's",
    "cascade_share_of_right": "cascade's share / right one",
    "large_share_of_right": "large model's share / right one",
    "idle_cpu_percent": "CPU when idle, %",
    "cpu_us": "CPU µs",
    "core_percent": "% of a core",
    "p50_ms": "ms",
    "mj": "mJ/picture",
    "mj_with_idle": "mJ/picture with idle",
    "rows": "pictures",
}


def judge_energy(results: Results) -> list[Row]:
    """Every target of the ledger and what it costs; what the routes take."""

    def off(case: str, metric: str) -> float:
        return 100 * abs(results.median(case, metric) - 1)

    resting = each(results, "meter on", "idle_cpu_percent") - each(
        results, "meter off", "idle_cpu_percent"
    )
    request_us = results.median("meter off", "cpu_us")
    counting = 100 * each(results, "counting a request", "cpu_us") / request_us
    scrape = next(case for case in results.cases() if case.startswith("scrape"))
    return [
        at_most("Four accounts against the meter, mixed load", [off("mixed load",
                "accounts_of_meter")], 0.1, "%", "off, either way", 3),
        at_most("The meter as it was read against the truth, mixed load", [off("mixed load",
                "meter_of_truth")], 0.5, "%",
                "off, either way; a reading is up to 0.2 s old, of 60", 3),
        at_most("The same across a kill and restart, against the truth",
                [off("kill and restart", "accounts_of_truth")], 1, "%", "off, either way", 2),
        at_most("A busy neighbour's joules that are billed to requests",
                [100 * abs(results.median("busy neighbour", "billed_of_neighbour"))], 3, "%",
                "of the neighbour's", 2),
        at_most("A route's share of two that run together, against alone",
                [max(off("two routes", f"{name}_share_of_right") for name in ("cascade", "large"))],
                5, "%", "the worse of both", 2),
        at_most("Sampler and ledger, an idle server", resting, 1, "% of a core",
                "with a meter less without", 2),
        at_most("Sampler and ledger, at any load", each(results, "a reading", "core_percent"), 1,
                "% of a core", "CPU time of the readings alone, ten a second", 2),
        at_most("All metrics, with the ledger's part for each row", counting, 5, "% of the CPU",
                f"the calls timed alone, of {request_us:.0f} µs a request of a small CNN", 2),
        at_most("A scrape with 50 routes", [results.median(scrape, "p50_ms")], 10, "ms",
                "client's time"),
        *[
            _compare(results, case, large, idle)
            for case, large in (
                (DUAL, LARGE), (MEMORY, LARGE), (GREY_DUAL, GREY_LARGE), (EXITS, GREY_LARGE)
            )
            for idle in (False, True)
        ],
    ]  # fmt: skip


def _compare(results: Results, case: str, large: str, idle_too: bool) -> Row:
    metric = "mj_with_idle" if idle_too else "mj"
    share = 100 * each(results, case, metric) / each(results, large, metric)
    source = SOURCES[int(results.median(case, "source"))]
    one, two = (results.median(name, metric) for name in (case, large))
    words = "idle included" if idle_too else "idle aside"
    return at_most(f"Energy a picture of the large model's, {words}: {case}", share,
                   25, "%", f"{one:.2f} of {two:.2f} mJ, told by: {source}")  # fmt: skip


def plot_energy(results: Results, path: Path) -> None:
    """Where the joules of the mixed load went, and what a picture takes."""
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    accounts, pictures = figure.subplots(1, 2)
    left = 0.0
    names = ("rows", "overhead", "others", "idle")
    for name, colour in zip(names, (OURS, "#1a7f37", "#c2571a", BASELINE), strict=True):
        share = 100 * median(results.values("mixed load", f"{name}_share"))
        accounts.barh(0, share, left=left, color=colour, label=f"{name} {share:.0f} %")
        left += share
    accounts.set_yticks([])
    accounts.set_title("whose joules under mixed load, %", fontsize=10)
    accounts.legend(frameon=False, fontsize=8, ncols=4, loc="upper center",
                    bbox_to_anchor=(0.5, -0.1))  # fmt: skip
    cases = (LARGE, DUAL, MEMORY, GREY_LARGE, GREY_DUAL, EXITS)
    for offset, metric, colour, label in (
        (-0.2, "mj_with_idle", BASELINE, "idle included"), (0.2, "mj", OURS, "idle aside"),
    ):  # fmt: skip
        values = [results.median(case, metric) for case in cases]
        places = [index + offset for index in range(len(cases))]
        bars = pictures.barh(places, values, 0.38, color=colour, label=label)
        pictures.bar_label(bars, fmt="{:.1f}", padding=3, fontsize=8)
    pictures.set_yticks(range(len(cases)), cases)
    pictures.invert_yaxis()
    pictures.margins(x=0.15)
    source = SOURCES[int(results.median(LARGE, "source"))]
    pictures.set_title(f"mJ a picture, told by: {source}", fontsize=10)
    pictures.legend(frameon=False, fontsize=8)
    for axes in (accounts, pictures):
        axes.spines[["top", "right"]].set_visible(False)
    save(figure, path)
