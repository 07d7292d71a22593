"""How the cascade was chosen: a section of its report, computed from the training's results."""

from collections.abc import Callable

from harness.results import FOLDER, Results, find_newest, read_results

RULES = {
    "last": "the last stage that ran has the word",
    "post_check": "the surest stage has the word (the paper's post-check)",
    "average": "the calibrated log-probabilities are averaged",
}
TIME = "device_us_batch_32"


def describe_choice(measured: Results) -> str:
    """Markdown: the combination rules compared on the same cascade, its oracle, both pictures."""
    data = measured.cases()[0]
    path = find_newest(f"dual_cnn_training-{data}", FOLDER)
    results = read_results(path)
    name = next(case for case in results.cases() if case.startswith("cascade ") and ">" in case)
    members = name.removeprefix("cascade ").replace(" > ", ", then ")
    rows = [_row(rule, words, results) for rule, words in RULES.items()]
    best = max(RULES, key=lambda rule: results.median(f"cascade, {rule}", "held_out_accuracy"))
    oracle = results.median(name, "test_oracle") * 100
    reached = results.median(name, "test_accuracy") * 100
    return "\n\n".join(
        [
            "## How it was chosen",
            f"`{results.facts['command']}` chose members, order, score, thresholds and rule on "
            f"held-out pictures alone, the test set tried what came of it: {members}. Samples: "
            f"`{path}`.",
            "| rule | held-out | test |\n| --- | --- | --- |\n" + "\n".join(rows),
            f"By held-out accuracy `{best}` was chosen; the paper's post-check is "
            f"{_points(results, best, 'post_check')} points of test accuracy behind it, averaging "
            f"{_points(results, best, 'average')}. A perfect choice among the cascade's stages "
            f"would reach {oracle:.2f} %: the oracle gap is {oracle - reached:.2f} points.",
            weigh_the_pool(measured),
            f"![Accuracy and time of the pool and of cascades](img/{data}-costs.png)",
            f"![Complementarity of the pool](img/{data}-complementarity.png)",
        ]
    )


def weigh_beside(data: str) -> Callable[[Results], str]:
    """A section for other reports of the same cascade: what a single net of its pool does."""

    def section(_: Results) -> str:
        measured = read_results(find_newest(f"dual_cnn_{data}", FOLDER))
        words = (
            "Against the large model a cascade looks good by the large model's weakness, too. From "
            f"[the measurement without a server](dual_cnn_{data}.md):"
        )
        return f"## Beside a single small net\n\n{words} {weigh_the_pool(measured)}"

    return section


def _row(rule: str, words: str, results: Results) -> str:
    case = f"cascade, {rule}"
    held_out = results.median(case, "held_out_accuracy") * 100
    test = results.median(case, "test_accuracy") * 100
    return f"| `{rule}`: {words} | {held_out:.2f} % | {test:.2f} % |"


def _points(results: Results, best: str, other: str) -> str:
    ahead = results.median(f"cascade, {best}", "test_accuracy")
    behind = results.median(f"cascade, {other}", "test_accuracy")
    return f"{(ahead - behind) * 100:.2f}"


def weigh_the_pool(results: Results) -> str:
    """What a single net would have to do to beat the cascade, and how near the pool comes to it."""
    cascade, _, *nets = results.cases()
    reached, limit_us = results.median(cascade, "accuracy"), 2 * results.median(cascade, TIME)
    quick = [net for net in nets if results.median(net, TIME) <= limit_us]
    best = max(quick, key=lambda net: results.median(net, "accuracy"))
    able = [net for net in nets if results.median(net, "accuracy") >= reached]
    if able:
        rival = (
            f"As accurate as the cascade are, of the pool's nets: {', '.join(able)}; the cheapest "
            "of them is the fair rival, and a gap in the pool favours the cascade. "
        )
    else:
        rival = "No net of the pool is as accurate as the cascade, so there is no rival to time. "
    return (
        f"{rival}To break the target of half a rival's time a single net would have to reach "
        f"{reached * 100:.2f} % in {limit_us:.0f} µs or less; the best of the pool in that time is "
        f"{best} with {results.median(best, 'accuracy') * 100:.2f} % in "
        f"{results.median(best, TIME):.0f} µs."
    )
