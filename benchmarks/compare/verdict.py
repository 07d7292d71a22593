"""The comparison in plain words, every one of them computed from the numbers."""

from collections.abc import Sequence

from benchmarks.compare.intervals import mean_and_margin
from benchmarks.compare.measuring.contestants import BASELINE, BEHIND, CONVERTERS
from benchmarks.compare.measuring.robust import GATED
from benchmarks.compare.robust_tables import list_all_corrupted, list_strangers, mean_share
from benchmarks.compare.scores import (
    COST,
    POINTS,
    Points,
    Standing,
    compare_accuracy,
    find_best_converter,
    find_front,
    hedge,
    says_mean,
    says_points,
    stand,
    subtract,
    times_less,
)
from benchmarks.compare.verdict_frozen import weigh_frozen
from harness.results import Results

STEPS = ("cbnet-dense", "branchynet", "truncated")
ABOUT = 1.1  # times the CPU are about the same: a run's noise
LONGER = {"encoder-only"}  # whose weights come from a converter, with that one's epochs


def write_verdict(results: Results) -> str:
    """Markdown: who wins at what accuracy, what converting is worth, when it wins."""
    standings = stand(results)
    alone = standings[BASELINE].margin is None
    sentences = [
        *(["One seed: no interval, and a small difference may be chance."] if alone else []),
        _say_in_short(results, standings),
        *_name_winners(results, standings),
        *(_judge_converter(results, standings, name) for name in CONVERTERS),
        *_weigh_conversion(results),
        _weigh_timer(results),
        _weigh_corruption(results, standings),
        _weigh_confidence(results),
        *weigh_frozen(results),
    ]
    return "\n\n".join(["## Verdict", "\n".join(f"- {sentence}" for sentence in sentences)])


def _say_in_short(results: Results, standings: dict[str, Standing]) -> str:
    """Whether any converter is worth more than plain nets of about its cost."""
    winners = [name for name in CONVERTERS if _surpasses(results, standings, name)]
    words = f"every control of at most {ABOUT - 1:.0%} more CPU"
    if winners:
        verb = "is" if len(winners) == 1 else "are"
        return (
            f"In short: {_enumerate(winners)} {verb} more accurate than {words}, by more than the "
            "interval over seeds: converting earns its place."
        )
    return (
        f"In short: no converter is more accurate than {words} by more than the interval over "
        "seeds: where the nets may be chosen, converting does not earn its place."
    )


def _surpasses(results: Results, standings: dict[str, Standing], name: str) -> bool:
    """More accurate, for sure, than all controls that are about as cheap."""
    dearest_us = standings[name].cost_us * ABOUT
    points = [
        compare_accuracy(results, name, other.name)
        for other in standings.values()
        if other.name not in CONVERTERS and other.cost_us <= dearest_us
    ]
    return bool(points) and all(margin is not None and mean > margin for mean, margin in points)


def _name_winners(results: Results, standings: dict[str, Standing]) -> list[str]:
    """The front, and the cheapest at LeNet's accuracy."""
    front = find_front(standings)
    steps = "; ".join(f"`{one.name}` {one.says()} for {one.cost_us:.0f} µs" for one in front)
    lenet = standings[BASELINE]
    able = [one for one in standings.values() if one.accuracy >= lenet.accuracy]
    cheapest = min(able, key=lambda one: one.cost_us)
    return [
        f"The best converter, by held-out pictures, is `{find_best_converter(results)}`.",
        f"From cheap to dear, whoever no other beats in both accuracy and CPU end to end: {steps}. "
        "Each is the choice up to its accuracy.",
        f"At LeNet's accuracy ({lenet.says()}) or better the cheapest is `{cheapest.name}`: "
        f"{cheapest.says()} for {cheapest.cost_us:.0f} µs of {lenet.cost_us:.0f} µs.",
    ]


def _judge_converter(results: Results, standings: dict[str, Standing], name: str) -> str:
    one = standings[name]
    controls = [other for other in standings.values() if other.name not in CONVERTERS]
    beating = [other for other in controls if other.beats(one)]
    cheaper = [other for other in controls if other.cost_us <= one.cost_us]
    words = f"`{name}` ({one.says()}, {one.cost_us:.0f} µs) is beaten by "
    words += _enumerate([other.name for other in beating]) if beating else "no control"
    if cheaper:
        best = max(beating or cheaper, key=lambda other: (other.accuracy, -other.cost_us))
        points = compare_accuracy(results, best.name, name)
        if len(beating) != 1:
            words += f"; the best {'of them' if beating else 'as cheap'}, `{best.name}`"
        words += f": {says_points(points)}{hedge(points)} for {best.cost_us:.0f} µs."
    else:
        words += ": none is as cheap."
    if name in LONGER:
        words += (
            " Its encoder is the converter's, so that it learnt for twice the epochs of others, as "
            f"did `{BEHIND[name]}`."
        )
    return words


def _weigh_conversion(results: Results) -> list[str]:
    """What a converter adds to the classifier behind it, and what its gate does."""
    parts = []
    for name, behind in BEHIND.items():
        words = _set_beside(name, behind, compare_accuracy(results, name, behind))
        dearer = results.median(name, COST) / results.median(behind, COST)
        parts.append(f"{words} for {dearer:.2f} times the CPU")
    ended = [mean_share(results, GATED, f"ended_{index}") for index in range(3)]
    return [
        f"What converting adds to the same nets without it: {'; '.join(parts)}.",
        f"With the gate {_percent(ended[0])} % of the pictures end at the light net, "
        f"{_percent(ended[1])} % at the converter and {_percent(ended[2])} % at the full net.",
    ]


def _weigh_timer(results: Results) -> str:
    parts, flattered = [], []
    for name in STEPS:
        theirs, whole = (
            round(times_less(results, name, metric), 1) for metric in ("trunk_us", "bare_us")
        )
        parts.append(f"{theirs:.1f} times that of `{name}`, {whole:.1f} times where all is timed")
        flattered += [name] if theirs > whole else []
    words = f"flatters {_enumerate(flattered)}" if flattered else "flatters nobody here"
    return f"The papers' timer {words}. By it LeNet's time is {'; '.join(parts)}."


def _weigh_corruption(results: Results, standings: dict[str, Standing]) -> str:
    """Of nets that have never seen corrupted pictures."""
    means = {name: list_all_corrupted(results, name) for name in standings}
    best = max(means, key=lambda name: mean_and_margin(means[name])[0])
    parts = [
        _set_beside(name, behind, subtract(means[name], means[behind]))
        for name, behind in BEHIND.items()
    ]
    return (
        f"On corrupted pictures, which nobody learnt from, the most accurate is `{best}` with "
        f"{says_mean(means[best], 1)} %. What converting adds there: {'; '.join(parts)}."
    )


def _weigh_confidence(results: Results) -> str:
    parts, raised = [], []
    for stranger in list_strangers(results):
        shares = []
        for name, behind in BEHIND.items():
            ours, theirs = (mean_share(results, one, f"strange_{stranger}")
                            for one in (name, behind))  # fmt: skip
            shares.append(f"`{name}` {_percent(ours)} ({_percent(theirs)}) %")
            raised += [f"`{name}` of {stranger}"] if ours > theirs else []
        lenet = _percent(mean_share(results, BASELINE, f"strange_{stranger}"))
        parts.append(f"of {stranger} {', '.join(shares)}, LeNet {lenet} %")
    words = f"more frequent: {', '.join(raised)}" if raised else "nowhere more frequent"
    return (
        f"Strangers answered with confidence, in brackets by the same nets without converting: "
        f"{'; '.join(parts)}. Converting makes them {words}."
    )


def _set_beside(name: str, behind: str, points: Points) -> str:
    return f"`{name}` over `{behind}` {says_points(points)}{hedge(points)}"


def _enumerate(names: Sequence[str]) -> str:
    quoted = [f"`{name}`" for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} and {quoted[-1]}"


def _percent(share: float) -> str:
    return f"{share * POINTS:.1f}"
