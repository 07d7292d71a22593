"""The report of answers shared between pictures that look alike: targets, picture, what it means.

Wrong hits are rare, so they are counted over all runs together.
"""

import math
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.reporting.plots import save
from benchmarks.reporting.verdicts import Row, at_most
from harness.results import Results

SHIPPED, MIXED = "as shipped", "all kinds"
COLOURS = {
    SHIPPED: "#2f6fb0",
    "twice the difference": "#1a7f37",
    "without verification": "#c2571a",
    "the paper's dHash": "#57606a",
}
COLUMNS = {
    "requests": "requests",
    "hits": "hits",
    "wrong": "wrong hits",
    "wrong_percent": "wrong, % of hits",
    "ask_us": "CPU µs/picture",
    "found_percent": "switched off, % of seeds",
    "hits_to_find": "hits until off",
    "slowest_hits": "hits until off, slowest",
    "seeds": "seeds a run",
}
MOST_HITS = 2000
DELTA_PERCENT = 1.0
ENOUGH_HITS = 1000  # of a kind, to speak of a thousandth of them


def judge_similar(results: Results) -> list[Row]:
    """Every target of the tier."""
    kinds = list_kinds(results)
    hits, wrong = _total(results, SHIPPED, kinds)
    judged = [kind for kind in kinds if _total(results, SHIPPED, [kind])[0] >= ENOUGH_HITS]
    worst = max(judged or kinds, key=lambda kind: _percent(results, SHIPPED, [kind]))
    worst_hits, worst_wrong = _total(results, SHIPPED, [worst])
    quiet = results.values("within the limit", "found_percent")
    return [
        at_most("Wrong-label hits, near-duplicates of all kinds",
                [_percent(results, SHIPPED, kinds)], 0.1, "%",
                f"{wrong:.0f} of {hits:.0f} hits, all runs together", 3),
        at_most(f"Wrong-label hits of the worst kind, {worst}",
                [_percent(results, SHIPPED, [worst])], 0.1, "%",
                f"{worst_wrong:.0f} of {worst_hits:.0f} hits, all runs together, of the kinds with "
                f"{ENOUGH_HITS} hits or more", 3),
        *[_judge_broken(results, case) for case in results.cases() if case.startswith("broken")],
        at_most("Tiers within the limit that were switched off, of all seeds",
                [float(np.mean(quiet))], DELTA_PERCENT, "%",
                "wrong in just 0.1 % of 20,000 hits; the audit's delta", 2),
    ]  # fmt: skip


def list_kinds(results: Results) -> list[str]:
    """The kinds of near-duplicates, in order, without their mixture."""
    cases = [case for case in results.cases() if case.startswith(f"{SHIPPED} @ ")]
    kinds = [case.partition(" @ ")[2] for case in cases]
    return [kind for kind in kinds if kind != MIXED]


def plot_similar(results: Results, path: Path) -> None:
    """Hits by kind, and how soon the audit finds a wrong rate."""
    figure = Figure(figsize=(11, 5), layout="constrained")
    hits, audits = figure.subplots(1, 2, width_ratios=(3, 2))
    _draw_hits(hits, results)
    _draw_audits(audits, results)
    save(figure, path)


def explain_similar(results: Results) -> str:
    """Markdown: what each part of the tier is worth."""
    kinds = list_kinds(results)
    rows = []
    for tier in dict.fromkeys(case.partition(" @ ")[0] for case in results.cases()):
        if f"{tier} @ {MIXED}" not in results.cases():
            continue
        hits, wrong = _total(results, tier, kinds)
        share = hits / _near_duplicates(results, tier, kinds)
        rows.append(
            f"| {tier} | {hits:,.0f} | {share:.2f} | {wrong:,.0f} |"
            f" {_percent(results, tier, kinds):.3f} % |"
        )
    return "\n\n".join(
        [
            "## What each part is worth",
            "All kinds and runs together. A hit is a picture that got another one's answer, its "
            "near-duplicate's or a stranger's: there may be more than one a near-duplicate. It is "
            "wrong when the route computes another label for that very picture. `twice the "
            "difference` is `max_difference = 8`, `unsure answers too` is `least_confidence = 0`; "
            "`without verification` compares the sure bits of the hash alone; the paper's is equal "
            "dHashes, as its code does it, without a guard for flat pictures.",
            "| tier | hits | a near-duplicate | wrong | of the hits |\n"
            "| --- | --- | --- | --- | --- |\n" + "\n".join(rows),
        ]
    )


def _judge_broken(results: Results, case: str) -> Row:
    slowest = max(results.values(case, "slowest_hits"))
    seeds = sum(results.values(case, "seeds"))
    middle = results.median(case, "hits_to_find")
    wrong = results.median(case, "wrong_percent")
    return at_most(f"Hits until the audit found a sketch that is {case}, slowest seed", [slowest],
                   MOST_HITS, "hits", f"{seeds:.0f} seeds, median {middle:.0f}, "
                   f"{wrong:.0f} % of the hits were wrong", 0)  # fmt: skip


def _total(results: Results, tier: str, kinds: list[str]) -> tuple[float, float]:
    """Hits and wrong hits."""
    hits, wrong = (
        sum(sum(results.values(f"{tier} @ {kind}", metric)) for kind in kinds)
        for metric in ("hits", "wrong")
    )
    return hits, wrong


def _percent(results: Results, tier: str, kinds: list[str]) -> float:
    hits, wrong = _total(results, tier, kinds)
    return 100 * wrong / hits if hits else 0.0


def _near_duplicates(results: Results, tier: str, kinds: list[str]) -> float:
    """Half of the requests are the pictures themselves."""
    return sum(sum(results.values(f"{tier} @ {kind}", "requests")) for kind in kinds) / 2


def _draw_hits(axes: Axes, results: Results) -> None:
    kinds = list_kinds(results)
    for number, (tier, colour) in enumerate(COLOURS.items()):
        for place, kind in enumerate(kinds):
            hits, wrong = _total(results, tier, [kind])
            share = 100 * hits / _near_duplicates(results, tier, [kind])
            part = wrong / hits if hits else 0.0
            y = place + 0.2 * (number - 1.5)
            label = tier if place == 0 else None
            axes.barh(y, share, height=0.18, color=colour, label=label)
            axes.barh(y, share * part, height=0.18, color="#d1242f")
            axes.text(share + 1, y, f"{100 * part:.2f} %", va="center", fontsize=6)
    axes.set(yticks=range(len(kinds)), yticklabels=kinds,
             title="hits, % of the near-duplicates; red, and in figures: wrong ones")  # fmt: skip
    axes.invert_yaxis()
    axes.legend(frameon=False, fontsize=8, ncols=4, loc="upper left", bbox_to_anchor=(-0.3, -0.05))
    axes.spines[["top", "right"]].set_visible(False)


def _draw_audits(axes: Axes, results: Results) -> None:
    cases = [case for case in results.cases() if case.startswith("wrong in ")]
    rates = [results.median(case, "wrong_percent") for case in cases]
    for metric, style, name in (
        ("hits_to_find", "o-", "median"),
        ("slowest_hits", "o:", "slowest"),
    ):
        pick = np.median if metric == "hits_to_find" else max
        found = [float(pick(results.values(case, metric))) for case in cases]
        points = [(rate, hits) for rate, hits in zip(rates, found, strict=True)
                  if math.isfinite(hits)]  # fmt: skip
        if points:
            axes.plot(*zip(*points, strict=True), style, color="#2f6fb0", label=name, ms=5)
    axes.axhline(MOST_HITS, color="#57606a", lw=1, ls="--")
    axes.set(xscale="log", yscale="log", xlabel="hits that are wrong, %",
             title="hits until the audit switches off")  # fmt: skip
    axes.legend(frameon=False, fontsize=8)
    axes.grid(alpha=0.3)
