"""The report's tables of contestants, of the papers' timer and of the frozen classifier."""

from collections.abc import Mapping
from pathlib import Path

from benchmarks.compare_frozen import VARIANTS
from benchmarks.compare_judge import find_data
from benchmarks.compare_robust_tables import mean_all_corrupted, mean_corrupted, mean_share
from benchmarks.compare_scores import POINTS, has, span_wilson, stand, times_less
from benchmarks.compare_trunk import TIMED
from benchmarks.contestants import BASELINE, CONTESTANTS
from benchmarks.corruptions import CORRUPTIONS
from benchmarks.energy_report import SOURCES
from benchmarks.intervals import mean_and_margin
from benchmarks.rendering import make_table
from benchmarks.results import Results

FIGURES = Path("docs/reports/img")
# Times LeNet's seconds for the test set over the method's, two-core cloud machine, from the
# authors' notebook (Revised_Figures): MNIST, Fashion-MNIST.
PAPER = {
    "mnist": {"lenet": 1.0, "branchynet": 3.35, "truncated": 6.78, "cbnet-dense": 4.96},
    "fashion-mnist": {"lenet": 1.0, "branchynet": 1.75, "truncated": 6.88, "cbnet-dense": 5.01},
}


def list_contestants(results: Results) -> str:
    """Markdown: everything about each contestant, in one table."""
    source = SOURCES[int(results.median(BASELINE, "bulk_source"))]
    rows = [
        [
            f"`{name}`: {CONTESTANTS[name]}",
            one.says(),
            span_wilson(results, name),
            f"{mean_share(results, name, 'macs') / 1e6:.3f}",
            *(_microseconds(results, name, metric) for metric in (
                "lone_device_us", "bulk_device_us", "lone_cpu_us", "many_cpu_us", "bulk_cpu_us")),
            f"{times_less(results, name, 'bulk_device_us'):.1f} ×",
            f"{results.median(name, 'bulk_mj'):.3f}",
        ]
        for name, one in stand(results).items()
    ]  # fmt: skip
    head = [
        "contestant", "accuracy, 95 % over seeds", "each seed's 95 % (Wilson)", "MMACs",
        "device µs: lone", "bulk", "CPU µs: lone", "many", "bulk", "device time, LeNet's over its",
        f"mJ by `{source}`",
    ]  # fmt: skip
    told = (
        "Millijoules are the ledger's for stages and server in `bulk`"
        + (", told by a model: CPU time by another name." if source == "model" else ".")
    )  # fmt: skip
    return "\n\n".join(["## All contestants", make_table(head, rows), told])


def beside_the_paper(results: Results) -> str:
    """Markdown: bare nets timed whole and by the papers' timer, and the papers' own ratios."""
    paper = PAPER[find_data(results)]
    rows = []
    for name in TIMED:
        if has(results, name, "trunk_us"):
            whole, trunk = (results.median(name, metric) for metric in ("bare_us", "trunk_us"))
            rows.append([
                f"`{name}`", f"{whole:.1f}", f"{trunk:.1f}",
                f"{times_less(results, name, 'bare_us'):.2f} ×",
                f"{times_less(results, name, 'trunk_us'):.2f} ×", _says_paper(paper, name),
            ])  # fmt: skip
    return "\n\n".join(
        [
            "## By the papers' own timer",
            "The released code of BranchyNet, which CBNet's uses, holds the clock over trunk "
            "segments only: of a picture that leaves at exit 1 it sees the first convolution, not "
            "the exit. LeNet is timed whole. Below, bare nets on one thread in batches of 32, the "
            "first seed, each stage weighted by the share of pictures that run it; the papers' "
            "ratios are those of their two-core machine, where the converter ran in another "
            "framework and other batches than the CNNs.",
            make_table(
                ["", "whole, µs", "trunk only, µs", "LeNet over it, whole", "trunk only",
                 "paper"], rows),
        ]
    )  # fmt: skip


def show_frozen(results: Results) -> str:
    """Markdown: a classifier that may not change, on corrupted pictures."""
    title = "## A frozen classifier on corrupted pictures"
    present = [name for name in VARIANTS if has(results, name, "accuracy")]
    if not present:
        return f"{title}\n\nNot measured: the nets that stand before it were not trained."
    seeds = len(results.values(present[0], "accuracy"))
    rows = [
        [
            VARIANTS[name],
            f"{mean_share(results, name, 'accuracy') * POINTS:.2f}",
            *(f"{mean_corrupted(results, name, kind) * POINTS:.1f}" for kind in CORRUPTIONS),
            _says_all(results, name),
            f"{mean_share(results, name, 'macs') / 1e6:.3f}",
        ]
        for name in present
    ]
    return "\n\n".join(
        [
            title,
            "The `light` net is deployed and may not be retrained; pictures arrive corrupted, by "
            "one of the five corruptions at one of three strengths, or clean. An autoencoder in "
            "front of it is trained on such pictures of the training set; the classifier is not "
            "touched. What would be done without the ban stands in the last row. Accuracy in per "
            f"cent, mean over {seeds} seeds.",
            make_table(
                ["", "clean", *CORRUPTIONS, "all five, 95 % over seeds", "MMACs"], rows
            ),
        ]
    )  # fmt: skip


def show_conversions(results: Results) -> str:
    """Markdown: pictures before and after conversion, where the training drew them."""
    data = find_data(results)
    name = f"{data}-converted.png"
    if not (FIGURES / name).exists():
        return f"## Conversions\n\nNot drawn; `sparing train cbnet --data {data}` draws them."
    return f"## Conversions\n\n![Pictures of {data} before and after conversion](img/{name})"


def _says_paper(paper: Mapping[str, float], name: str) -> str:
    return f"{paper[name]:.2f} ×" if name in paper else "–"


def _says_all(results: Results, name: str) -> str:
    """Mean over corruptions, and the margin over seeds."""
    kinds = [
        results.values(name, f"corrupt_{kind}_{strength}")
        for kind, (_, amounts) in CORRUPTIONS.items()
        for strength in range(1, len(amounts) + 1)
    ]
    by_seed = [POINTS * sum(values) / len(values) for values in zip(*kinds, strict=True)]
    _, margin = mean_and_margin(by_seed)
    mean = POINTS * mean_all_corrupted(results, name)
    return f"{mean:.2f}" + ("" if margin is None else f" ± {margin:.2f}")


def _microseconds(results: Results, name: str, metric: str) -> str:
    return f"{results.median(name, metric):.1f}"
