"""The report's tables of corrupted pictures and of strangers."""

from benchmarks.compare.intervals import mean_and_margin
from benchmarks.compare.measuring.corruptions import CORRUPTIONS
from benchmarks.compare.measuring.robust import CONFIDENT, GATED
from benchmarks.compare.scores import POINTS, says_mean, stand
from benchmarks.reporting.rendering import make_table
from harness.results import Results


def show_robustness(results: Results) -> str:
    """Markdown: accuracy by corruption, confidence in strangers, and what the gate lets stop."""
    return "\n\n".join(
        [
            "## Corrupted pictures and strangers",
            f"Accuracy in per cent on the first {int(results.median(GATED, 'trial_rows')):,} test "
            "pictures, corrupted, mean over three strengths and all seeds; `clean` is the whole "
            "test set as it is. No contestant learnt from corrupted pictures, but for shifts of a "
            "pixel.",
            _tabulate_corruptions(results),
            "Strangers are as many pictures of none of the classes. Share answered with a "
            f"probability of {CONFIDENT} or more, in per cent, mean over seeds; every such answer "
            "is wrong.",
            _tabulate_strangers(results),
            _explain_gate(results),
        ]
    )


def list_strangers(results: Results) -> list[str]:
    """The sets measured, in order."""
    names = (s.metric.removeprefix("strange_") for s in results.samples
             if s.metric.startswith("strange_"))  # fmt: skip
    return list(dict.fromkeys(names))


def mean_share(results: Results, case: str, metric: str) -> float:
    """Over seeds."""
    return mean_and_margin(results.values(case, metric))[0]


def mean_corrupted(results: Results, case: str, kind: str) -> float:
    """Accuracy over strengths and seeds."""
    strengths = range(1, len(CORRUPTIONS[kind][1]) + 1)
    shares = [mean_share(results, case, f"corrupt_{kind}_{strength}") for strength in strengths]
    return sum(shares) / len(shares)


def list_all_corrupted(results: Results, case: str) -> list[float]:
    """Accuracy over all corruptions and strengths in per cent, of each seed."""
    metrics = [
        results.values(case, f"corrupt_{kind}_{strength}")
        for kind, (_, amounts) in CORRUPTIONS.items()
        for strength in range(1, len(amounts) + 1)
    ]
    return [POINTS * sum(values) / len(values) for values in zip(*metrics, strict=True)]


def _tabulate_corruptions(results: Results) -> str:
    rows = [
        [
            name,
            _percent(mean_share(results, name, "accuracy")),
            *(_percent(mean_corrupted(results, name, kind)) for kind in CORRUPTIONS),
            says_mean(list_all_corrupted(results, name), 1),
        ]
        for name in stand(results)
    ]
    return make_table(["contestant", "clean", *CORRUPTIONS, "all five, 95 % over seeds"], rows)


def _tabulate_strangers(results: Results) -> str:
    strangers = list_strangers(results)
    rows = [
        [name, *(_percent(mean_share(results, name, f"strange_{one}")) for one in strangers)]
        for name in stand(results)
    ]
    return make_table(["contestant", *strangers], rows)


def _explain_gate(results: Results) -> str:
    stops = mean_share(results, GATED, "ended_1")
    parts = [
        f"of {stranger} {_percent(mean_share(results, GATED, f'converted_{stranger}'))} %, with "
        f"confidence {_percent(mean_share(results, GATED, f'converted_confident_{stranger}'))} %"
        for stranger in list_strangers(results)
    ]
    return (
        f"The gate of `cbnet-gated` lets {_percent(stops)} % of the test pictures stop at the "
        f"converter; of strangers, {'; '.join(parts)}. What passes its light stage with confidence "
        "never reaches the gate."
    )


def _percent(share: float) -> str:
    return f"{share * POINTS:.1f}"
