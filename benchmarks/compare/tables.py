"""The report's tables of contestants, of the papers' timer and of the frozen classifier."""

from collections.abc import Mapping
from pathlib import Path

from benchmarks.compare.judge import find_data
from benchmarks.compare.measuring.contestants import BASELINE, CONTESTANTS
from benchmarks.compare.measuring.corruptions import CORRUPTIONS
from benchmarks.compare.measuring.frozen import VARIANTS
from benchmarks.compare.measuring.trunk import TIMED
from benchmarks.compare.robust_tables import list_all_corrupted, mean_corrupted, mean_share
from benchmarks.compare.scores import POINTS, has, says_mean, span_wilson, stand, times_less
from benchmarks.energy.report import SOURCES
from benchmarks.reporting.rendering import make_table
from harness.results import QUICK_FOLDER, Results

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
            f"`{name}`",
            one.says(),
            span_wilson(results, name),
            says_mean([POINTS * share for share in results.values(name, "held_out_accuracy")], 2),
            f"{mean_share(results, name, 'macs') / 1e6:.3f}",
            f"{results.median(name, 'bare_us'):.1f}",
            f"{results.median(name, 'bulk_device_us'):.1f}",
            f"{times_less(results, name, 'bulk_device_us'):.1f} ×",
            f"{results.median(name, 'bulk_cpu_us'):.1f}",
            f"{results.median(name, 'bulk_mj'):.3f}",
        ]
        for name, one in stand(results).items()
    ]
    head = [
        "contestant", "accuracy", "each seed's 95 % (Wilson)", "held out, %", "MMACs",
        "bare nets, µs", "device µs", "LeNet's over it", "CPU µs", f"mJ by `{source}`",
    ]  # fmt: skip
    told = (
        "Accuracies are means with 95 % over seeds. Device time, CPU and millijoules are those of "
        "a picture in `bulk`, bare nets are timed on one thread in batches of 32; millijoules are "
        "the ledger's for stages and server"
        + (", told by a model: CPU time by another name." if source == "model" else ".")
    )
    epochs = {f"{s.value:.0f}" for s in results.samples if s.metric == "epochs"}
    if epochs:
        told += (
            f" Every net learnt for {' or '.join(sorted(epochs))} epochs, `plain-encoder` twice as "
            "long, since `encoder-only` begins with what the converter learnt."
        )
    who = "\n".join(f"- `{name}`: {CONTESTANTS[name]}" for name in stand(results))
    return "\n\n".join(["## All contestants", make_table(head, rows), told, who])


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
    says_count = "one seed" if seeds == 1 else f"mean over {seeds} seeds"
    rows = [
        [
            VARIANTS[name],
            f"{mean_share(results, name, 'accuracy') * POINTS:.2f}",
            *(f"{mean_corrupted(results, name, kind) * POINTS:.1f}" for kind in CORRUPTIONS),
            says_mean(list_all_corrupted(results, name), 2),
            f"{mean_share(results, name, 'macs') / 1e6:.3f}",
        ]
        for name in present
    ]
    return "\n\n".join(
        [
            title,
            "The `light` net is deployed and may not be retrained; pictures arrive corrupted, by "
            "one of the five corruptions at one of three strengths, or clean. An autoencoder in "
            "front of it learns from training pictures corrupted in the same ways at the same "
            "strengths; what it does with other corruptions is not told. The classifier is not "
            "touched. The four autoencoders are of one size and learn for as many epochs; the "
            "second and the fourth are told the classifier's loss. What would be done without the "
            f"ban stands in the last row. Accuracy in per cent, {says_count}, on the pictures of "
            "the table of corruptions.",
            make_table(
                ["", "clean", *CORRUPTIONS, "all five, 95 % over seeds", "MMACs"], rows
            ),
        ]
    )  # fmt: skip


def show_conversions(results: Results) -> str:
    """Markdown: pictures before and after conversion, where the training drew them."""
    data = find_data(results)
    name = f"{data}-converted.png"
    if not (_find_reports(results) / "img" / name).exists():
        return "## Conversions\n\nNot drawn; they are when the nets are trained."
    return f"## Conversions\n\n![Pictures of {data} before and after conversion](img/{name})"


def _find_reports(results: Results) -> Path:
    """Where the report of these results is written: a trial's is not among the others."""
    words = results.facts["command"].split()
    return QUICK_FOLDER if {"--quick", "--epochs"} & set(words) else Path("docs/reports")


def _says_paper(paper: Mapping[str, float], name: str) -> str:
    return f"{paper[name]:.2f} ×" if name in paper else "–"
