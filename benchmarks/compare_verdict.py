"""The comparison in plain words, every one of them computed from the numbers."""

from collections.abc import Sequence

from benchmarks.compare_frozen import AS_IT_IS, CLEANED, CONVERTED, GUIDED, RETRAINED
from benchmarks.compare_robust import GATED
from benchmarks.compare_robust_tables import list_strangers, mean_share
from benchmarks.compare_scores import (
    COST,
    POINTS,
    Standing,
    compare_accuracy,
    find_best_converter,
    find_front,
    has,
    says_points,
    stand,
    times_less,
)
from benchmarks.contestants import BASELINE, BEHIND, CONVERTERS
from benchmarks.corruptions import CORRUPTIONS
from benchmarks.intervals import mean_and_margin
from benchmarks.results import Results

STEPS = ("cbnet-dense", "branchynet", "truncated")


def write_verdict(results: Results) -> str:
    """Markdown: who wins at what accuracy, what converting is worth, when it wins."""
    standings = stand(results)
    sentences = [
        *_name_winners(standings),
        *(_judge_converter(results, standings, name) for name in CONVERTERS),
        _weigh_conversion(results),
        _weigh_timer(results),
        _weigh_confidence(results),
        _weigh_frozen(results),
    ]
    return "\n\n".join(["## Verdict", "\n".join(f"- {sentence}" for sentence in sentences)])


def _name_winners(standings: dict[str, Standing]) -> list[str]:
    """The front, and the cheapest at LeNet's accuracy."""
    front = find_front(standings)
    steps = "; ".join(f"`{one.name}` {one.says()} for {one.cost_us:.0f} µs" for one in front)
    lenet = standings[BASELINE]
    able = [one for one in standings.values() if one.accuracy >= lenet.accuracy]
    cheapest = min(able, key=lambda one: one.cost_us)
    return [
        f"From cheap to dear, whoever no other beats in both accuracy and CPU end to end: {steps}. "
        f"Each is the choice up to its accuracy.",
        f"At LeNet's accuracy ({lenet.says()}) or better the cheapest is `{cheapest.name}`: "
        f"{cheapest.says()} for {cheapest.cost_us:.0f} µs of {lenet.cost_us:.0f} µs.",
    ]


def _judge_converter(results: Results, standings: dict[str, Standing], name: str) -> str:
    one = standings[name]
    others = [
        other for other in standings.values()
        if other.name not in CONVERTERS and other.beats(one)
    ]  # fmt: skip
    if not others:
        return (
            f"`{name}` ({one.says()}, {one.cost_us:.0f} µs) is beaten by no control: none is at "
            "once as accurate and as cheap."
        )
    best = max(others, key=lambda other: (other.accuracy, -other.cost_us))
    points = compare_accuracy(results, best.name, name)
    return (
        f"`{name}` ({one.says()}, {one.cost_us:.0f} µs) is beaten by "
        f"{_enumerate([other.name for other in others])}; the best of them, `{best.name}`, is "
        f"{says_points(points)} more accurate for {best.cost_us:.0f} µs."
    )


def _weigh_conversion(results: Results) -> str:
    """What a converter adds to the classifier behind it, and what its gate does."""
    best = find_best_converter(results)
    parts = []
    for name, behind in BEHIND.items():
        gain = says_points(compare_accuracy(results, name, behind))
        dearer = results.median(name, COST) / results.median(behind, COST)
        parts.append(f"{gain} and {dearer:.1f} times the CPU for `{name}` over `{behind}`")
    ended = [mean_share(results, GATED, f"ended_{index}") for index in range(3)]
    return (
        f"What converting adds to the same nets without it: "
        f"{'; '.join(parts)}. With the gate "
        f"{_percent(ended[0])} % of the pictures end at the light net, {_percent(ended[1])} % at "
        f"the converter and {_percent(ended[2])} % at the full net. The best converter by held-out "
        f"pictures is `{best}`."
    )


def _weigh_timer(results: Results) -> str:
    parts, flattered = [], []
    for name in STEPS:
        theirs, whole = (times_less(results, name, metric) for metric in ("trunk_us", "bare_us"))
        parts.append(f"`{name}` is {theirs:.1f} times quicker than LeNet by it, {whole:.1f} whole")
        flattered += [name] if theirs > whole else []
    words = f"flatters {_enumerate(flattered)}" if flattered else "flatters nobody here"
    return f"The papers' timer {words}: {'; '.join(parts)}."


def _weigh_confidence(results: Results) -> str:
    parts = []
    for stranger in list_strangers(results):
        shares = {name: mean_share(results, name, f"strange_{stranger}") for name in stand(results)}
        parts.append(
            f"of {stranger} `cbnet` {_percent(shares['cbnet'])} %, `cbnet-gated` "
            f"{_percent(shares[GATED])} %, `light` {_percent(shares['light'])} %, LeNet "
            f"{_percent(shares[BASELINE])} %"
        )
    return f"Strangers answered with confidence: {'; '.join(parts)}."


def _weigh_frozen(results: Results) -> str:
    """The best way to convert, against none, against cleaning and against retraining."""
    if not has(results, AS_IT_IS, "accuracy"):
        return "Whether converting wins before a frozen classifier was not measured."
    gains = {
        name: _gain(results, name, AS_IT_IS) for name in (CONVERTED, GUIDED, CLEANED, RETRAINED)
    }
    best = max((CONVERTED, GUIDED), key=lambda name: gains[name][0])
    mean, margin = gains[best]
    verdict = "Converting wins" if mean > 0 else "Converting does not win"
    if margin is None:
        hedge = " (one seed, so without an interval)"
    else:
        hedge = "" if abs(mean) > margin else " (within the interval over seeds, so not for sure)"
    clean = compare_accuracy(results, best, AS_IT_IS)
    better = "more" if mean > gains[CLEANED][0] else "less"
    return (
        f"{verdict} before a frozen classifier that gets corrupted pictures{hedge}: as in "
        f"`{best}` it brings {says_points(gains[best])} over the five corruptions and "
        f"{says_points(clean)} on clean pictures, {better} than an autoencoder that only cleans "
        f"({says_points(gains[CLEANED])}), for "
        f"{results.median(best, 'macs') / results.median(AS_IT_IS, 'macs'):.1f} times the MACs. "
        f"Retraining the same classifier on corrupted pictures, where that is allowed, brings "
        f"{says_points(gains[RETRAINED])} for {_ratio_macs(results):.1f} times the MACs."
    )


def _ratio_macs(results: Results) -> float:
    return results.median(RETRAINED, "macs") / results.median(AS_IT_IS, "macs")


def _gain(results: Results, name: str, other: str) -> tuple[float, float | None]:
    """Points on all corrupted pictures, seed by seed: mean and margin."""
    metrics = [
        f"corrupt_{kind}_{strength}"
        for kind, (_, amounts) in CORRUPTIONS.items()
        for strength in range(1, len(amounts) + 1)
    ]
    by_seed = zip(
        zip(*(results.values(name, metric) for metric in metrics), strict=True),
        zip(*(results.values(other, metric) for metric in metrics), strict=True),
        strict=True,
    )
    return mean_and_margin([POINTS * (sum(one) - sum(two)) / len(metrics) for one, two in by_seed])


def _enumerate(names: Sequence[str]) -> str:
    quoted = [f"`{name}`" for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} and {quoted[-1]}"


def _percent(share: float) -> str:
    return f"{share * POINTS:.1f}"
