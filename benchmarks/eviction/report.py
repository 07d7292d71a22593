"""The report's part on who leaves memory first: targets, picture, and what the bounds tell."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.reporting.plots import BASELINE, OURS, save
from benchmarks.reporting.verdicts import Row, at_most, each, median
from harness.results import Results

MEMORY, LRU, TINY, BELADY, BLIND = (
    "memory", "LRU", "W-TinyLFU", "Belady's optimum", "best without foresight",
)  # fmt: skip
BOUNDS = (BELADY, BLIND)
ZIPF = "Zipf"
COLUMNS = {
    "hit_rate": "hit rate",
    "requests": "requests",
    "different": "different ones",
    "room": "room for answers",
}


def judge_eviction(results: Results) -> list[Row]:
    """How far memory is from both bounds on the Zipf stream."""
    rates = {name: 100 * each(results, f"{name} @ {ZIPF}", "hit_rate") for name in _names(results)}
    return [
        at_most(f"Hit rate on the Zipf stream below {words}", rates[bound] - rates[MEMORY], 3,
                "points", f"{median(rates[MEMORY]):.2f} % of {median(rates[bound]):.2f} %", 2)
        for bound, words in ((BELADY, "Belady's, who knows the future"),
                             (BLIND, "the best without foresight"))
    ]  # fmt: skip


def plot_eviction(results: Results, path: Path) -> None:
    """Hit rates of every policy and bound, a panel a workload."""
    loads = _loads(results)
    figure = Figure(figsize=(11, 3.4 * (1 + len(loads) // 2)), layout="constrained")
    panels = list(figure.subplots((len(loads) + 1) // 2, 2, squeeze=False).flat)
    for axes, load in zip(panels, loads, strict=False):
        _draw(axes, results, load)
    for axes in panels[len(loads) :]:
        axes.set_axis_off()
    save(figure, path)


def explain_eviction(results: Results) -> str:
    """Markdown: which policy, why, and what no policy can do."""
    rate = {
        (name, load): 100 * results.median(f"{name} @ {load}", "hit_rate")
        for load in _loads(results)
        for name in _names(results, load)
    }
    memory, lru, tiny = (rate[name, ZIPF] for name in (MEMORY, LRU, TINY))
    belady, blind = rate[BELADY, ZIPF], rate[BLIND, ZIPF]
    out_of_reach = belady - blind > 3
    reach = "no policy comes within 3 points of Belady" if out_of_reach else "3 points are in reach"
    lines = [
        "## Which policy, and why",
        "Memory evicts by S3-FIFO. A hit is a counter, no answer changes its place for it; what is "
        "asked for once passes through a tenth of the memory and drives out nothing else; nothing "
        "is to be tuned, and a ghost takes 8 bytes. On the Zipf stream it answers "
        f"{memory:.1f} % of the requests, where keeping the most recently used answers {lru:.1f} % "
        f"and W-TinyLFU, which counts how often what was asked for, {tiny:.1f} %. On the traces, "
        f"where what is popular changes, memory is, against W-TinyLFU, {_compare(rate, TINY)}; "
        f"against the most recently used, {_compare(rate, LRU)}.",
        f"Belady's optimum, {belady:.1f} %, knows every request to come. Here requests are "
        "independent, so what comes next cannot be told from what came before: the next one is a "
        "hit with the summed popularity of what is kept. A policy that is told how popular each "
        "picture is, and keeps the most popular of those asked for so far, is therefore the best "
        f"of all that do not see the future. It answers {blind:.1f} %, {belady - blind:.1f} points "
        f"less than Belady: on this stream {reach}. Memory, which has to find out what is popular, "
        f"is {blind - memory:.1f} points below that.",
        "`memory` is the real first tier in the bytes of so many answers, its own books inside; "
        "all others are the policies alone, and W-TinyLFU's counts are exact ones, not a sketch's.",
    ]
    return "\n\n".join(lines)


def _compare(rate: dict[tuple[str, str], float], rival: str) -> str:
    """Memory's hit rate less the rival's, trace by trace."""
    parts = [
        f"{abs(ours - rate[rival, load]):.1f} points "
        f"{'above' if ours >= rate[rival, load] else 'below'} ({load})"
        for (name, load), ours in rate.items()
        if name == MEMORY and load != ZIPF
    ]
    return ", ".join(parts)


def _names(results: Results, load: str = ZIPF) -> list[str]:
    pairs = (case.split(" @ ") for case in results.cases())
    return [name for name, where in pairs if where == load]


def _loads(results: Results) -> list[str]:
    return list(dict.fromkeys(case.split(" @ ")[1] for case in results.cases()))


def _draw(axes: Axes, results: Results, load: str) -> None:
    names = _names(results, load)
    rates = [100 * results.median(f"{name} @ {load}", "hit_rate") for name in names]
    colours = ["#1a7f37" if n in BOUNDS else OURS if n == MEMORY else BASELINE for n in names]
    bars = axes.barh(names, rates, color=colours)
    axes.bar_label(bars, fmt="{:.1f}", padding=3, fontsize=8)
    axes.invert_yaxis()
    axes.set_title(f"{load}: hit rate, %", fontsize=10)
    axes.margins(x=0.15)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
