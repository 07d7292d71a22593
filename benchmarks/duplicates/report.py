"""The report of the duplicates experiment: its targets, its picture and the paper's figures beside.

Ratios are taken run by run, as all systems answer the same workload next to each other in time.
"""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from benchmarks.duplicates.memory_cost import OFF, ON
from benchmarks.reporting.plots import save
from benchmarks.reporting.verdicts import Floats, Row, at_most, each
from harness.results import Results

SHARES = (0, 50, 100)
LARGE, DUAL, MEMORY, SIMILAR = "large", "dual", "dual + memory", "dual + memory + similar"
COLOURS = {LARGE: "#57606a", DUAL: "#2f6fb0", MEMORY: "#1a7f37", SIMILAR: "#c2571a"}
COLUMNS = {
    "accuracy": "accuracy",
    "device_us": "device µs/picture",
    "cpu_us": "process CPU µs/picture",
    "remembered": "answered from memory",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "requests_s": "requests/s",
    "requests": "requests",
}
# mAh of a whole CIFAR-10 run on a Jetson Nano, `utils/plotter.py` of the authors at 204191c.
# Its memory is a dictionary of dHashes.
PAPER_MAH = {LARGE: (225, 302, 396), DUAL: (52, 80, 100), MEMORY: (53, 56, 57)}


def judge_duplicates(results: Results) -> list[Row]:
    """Every target of the experiment."""
    dual = 100 * _ratio(results, f"{DUAL} @ 0 %", f"{LARGE} @ 0 %", "device_us")
    remembered = 100 * _ratio(results, f"{MEMORY} @ 100 %", f"{LARGE} @ 100 %", "device_us")
    own_us = each(results, ON, "cpu_us") - each(results, OFF, "cpu_us")
    own = 100 * own_us / each(results, OFF, "cpu_us")
    large_us = results.median(f"{LARGE} @ 0 %", "cpu_us")
    error_us = np.std(own_us, ddof=1) / len(own_us) ** 0.5
    cost = f"on average {np.mean(own_us):.0f} ± {error_us:.0f} µs a picture"
    return [
        at_most("Device time of the cascade without repeats, of the large model's", dual, 20, "%",
                _numbers(results, DUAL, LARGE, "0 %")),
        at_most("Device time with memory where each picture comes twice, of the large model's",
                remembered, 10, "%", _numbers(results, MEMORY, LARGE, "100 %")),
        at_most("Memory's own CPU without repeats, of the large model's", 100 * own_us / large_us,
                1, "%", f"{cost} of {large_us:.0f} µs", 2),
        at_most("Memory's own CPU without repeats, of the cascade's", own, 1, "%",
                f"{cost} of {results.median(OFF, 'cpu_us'):.0f} µs"),
        at_most("Accuracy changed by memory", [_most_changed(results, MEMORY)], 0, "points",
                "the largest difference in any run of any workload", 2),
        at_most("Accuracy changed by the similar tier", [_most_changed(results, SIMILAR)], 0.1,
                "points", "the largest difference in any run of any workload", 2),
    ]  # fmt: skip


def _most_changed(results: Results, system: str) -> float:
    """Points, against the cascade alone on the same pictures."""
    return max(
        float(np.abs(each(results, f"{system} @ {load}", "accuracy")
                     - each(results, f"{DUAL} @ {load}", "accuracy")).max()) * 100
        for load in list_loads(results)
    )  # fmt: skip


def plot_duplicates(results: Results, path: Path) -> None:
    """Device time and CPU of the process a picture, over the share that comes twice."""
    figure = Figure(figsize=(11, 5), layout="constrained")
    device, cpu = figure.subplots(1, 2)
    _draw(device, results, "device_us", "device time, µs a picture")
    _draw(cpu, results, "cpu_us", "CPU of the whole server process, µs a picture")
    lines, names = device.get_legend_handles_labels()
    figure.legend(lines, names, loc="outside lower center", ncols=len(names), frameon=False)
    save(figure, path)


def beside_the_paper(results: Results) -> str:
    """Markdown: each system's cost over the large model's, ours and the paper's."""
    lines = [
        "## Beside the paper",
        "Each figure is a fraction of the large model's on the same workload. The paper's are "
        "energy of a whole Jetson Nano, idle included, read off a power meter "
        "(`utils/plotter.py`, commit 204191c), its memory a dictionary of dHashes; ours are time "
        "inside the stages and CPU time of the whole server process, memory is exact.",
        "| repeats | system | paper, energy | ours, device time | ours, CPU |\n"
        "| --- | --- | --- | --- | --- |\n"
        + "\n".join(
            _compare(results, system, share, index)
            for index, share in enumerate(SHARES)
            for system in (DUAL, MEMORY, SIMILAR)
        ),
        _explain(results),
    ]
    return "\n\n".join(lines)


def list_loads(results: Results) -> list[str]:
    """The workloads measured, in order."""
    loads = (case.split(" @ ")[1] for case in results.cases() if " @ " in case)
    return list(dict.fromkeys(loads))


def _compare(results: Results, system: str, share: int, index: int) -> str:
    paper = PAPER_MAH.get(system)
    energy = f"{paper[index] / PAPER_MAH[LARGE][index]:.3f}" if paper else "–"
    ours = [
        float(np.median(_ratio(results, f"{system} @ {share} %", f"{LARGE} @ {share} %", metric)))
        for metric in ("device_us", "cpu_us")
    ]
    return f"| {share} % | {system} | {energy} | {ours[0]:.3f} | {ours[1]:.3f} |"


def _explain(results: Results) -> str:
    def share(system: str, load: str) -> float:
        return float(
            np.median(_ratio(results, f"{system} @ {load}", f"{LARGE} @ {load}", "cpu_us"))
        )

    saved_by_nets, saved = 1 - share(DUAL, "100 %"), 1 - share(MEMORY, "100 %")
    one_by_one = results.median("large, one by one @ 0 %", "device_us")
    batched = results.median(f"{LARGE} @ 0 %", "device_us")
    alike, same = (results.median(f"{s} @ 100 %", "remembered") for s in (SIMILAR, MEMORY))
    turned = results.median(f"{SIMILAR} @ 100 % turned", "remembered")
    return (
        f"Where each picture comes twice, cascade and memory together save {saved:.1%} of the "
        f"large model's CPU time (the paper's headline: 85.8 % of energy); the cascade alone saves "
        f"{saved_by_nets:.1%}, so {saved_by_nets / saved:.0%} of it come from small nets in place "
        f"of a large one. Asked one by one, the large model needs {one_by_one / batched:.2f} times "
        f"the device time of its batches. The similar tier answers next to nothing more "
        f"({alike:.1%} of the requests against {same:.1%}), as a repeat is the same picture; "
        f"what it costs is all that is seen of it here. Turned repeats are new pictures to both "
        f"memories ({turned:.1%} of the requests were answered from memory)."
    )


def _draw(axes: Axes, results: Results, metric: str, title: str) -> None:
    for system, colour in COLOURS.items():
        for suffix, style in (("", "o-"), (" turned", "o:")):
            loads = [(s, f"{system} @ {s} %{suffix if s else ''}") for s in SHARES]
            points = [(s, results.median(case, metric)) for s, case in loads]
            label = system + (", repeats turned" if suffix else "")
            if suffix and system != SIMILAR:
                continue  # to all others a turned repeat is just another picture
            axes.plot(*zip(*points, strict=True), style, color=colour, label=label, ms=5)
    axes.set(xticks=SHARES, xlabel="pictures that come a second time, %", title=title, yscale="log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylim(bottom=200)
    axes.grid(alpha=0.3)


def _ratio(results: Results, case: str, other: str, metric: str) -> Floats:
    return each(results, case, metric) / each(results, other, metric)


def _numbers(results: Results, system: str, other: str, load: str) -> str:
    one, two = (results.median(f"{name} @ {load}", "device_us") for name in (system, other))
    return f"{one:.0f} of {two:.0f} µs a picture"
