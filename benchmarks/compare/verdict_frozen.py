"""The verdict on the frozen classifier: does converting win where nothing may be retrained?

Converting is judged against doing nothing and, as fairly as can be, against cleaning: the same
autoencoder, loss and epochs, another target. Telling the autoencoder the classifier's loss helps
either; so it is told apart.
"""

from benchmarks.compare.measuring.frozen import (
    AS_IT_IS,
    CLEANED,
    CONVERTED,
    GUIDED,
    GUIDED_CLEANED,
    RETRAINED,
)
from benchmarks.compare.robust_tables import list_all_corrupted
from benchmarks.compare.scores import (
    Points,
    compare_accuracy,
    has,
    hedge,
    says_points,
    subtract,
    times_less,
)
from harness.results import Results

WAYS = {
    CONVERTED: "converting",
    GUIDED: "converting and told the classifier's loss",
    CLEANED: "only cleaning",
    GUIDED_CLEANED: "cleaning and told the classifier's loss",
    RETRAINED: "retraining, where that is allowed",
}


def weigh_frozen(results: Results) -> list[str]:
    """Who helps, then by how much, as sentences."""
    if not has(results, AS_IT_IS, "accuracy"):
        return ["Whether converting wins before a frozen classifier was not measured."]
    gains = [
        f"{words} {says_points(_gain(results, name, AS_IT_IS))} "
        f"({says_points(compare_accuracy(results, name, AS_IT_IS))} on clean pictures)"
        for name, words in WAYS.items()
    ]
    macs = 1 / times_less(results, CONVERTED, "macs", AS_IT_IS)
    return [
        f"Before a frozen classifier that gets corrupted pictures {_name_winner(results)}.",
        f"Beside the frozen classifier alone, over the five corruptions: {'; '.join(gains)}. "
        f"With an autoencoder it takes {macs:.1f} times the MACs.",
        _set_beside_retraining(results),
    ]


def _name_winner(results: Results) -> str:
    plain = _set_beside_cleaning(
        results, CONVERTED, CLEANED, "the same autoencoder that only cleans"
    )
    told = _set_beside_cleaning(results, GUIDED, GUIDED_CLEANED, "cleaning")
    return f"converting {plain}; where both are told the classifier's loss, it {told}"


def _set_beside_retraining(results: Results) -> str:
    """Whether an autoencoder makes up for what is forbidden; of those told the loss."""
    gain = _gain(results, GUIDED, AS_IT_IS)
    verb = "pays" if gain[0] > 0 and not hedge(gain) else "does not pay for sure"
    converted, cleaned = (_gain(results, one, RETRAINED) for one in (GUIDED, GUIDED_CLEANED))
    return (
        f"So a converter before a classifier that may not be retrained {verb} where it is told the "
        f"loss. Beside retraining it that is {says_points(converted)}{hedge(converted)}, with a "
        f"cleaner {says_points(cleaned)}{hedge(cleaned)}."
    )


def _set_beside_cleaning(results: Results, converted: str, cleaned: str, words: str) -> str:
    gain, beside = _gain(results, converted, AS_IT_IS), _gain(results, converted, cleaned)
    if gain[0] <= 0:
        return f"does not win: {says_points(gain)} beside the classifier alone{hedge(gain)}"
    if hedge(beside):
        return f"cannot be told from {words}: {says_points(beside)}{hedge(beside)}"
    verb = "wins" if beside[0] > 0 else "does not win"
    return f"{verb}: {says_points(beside)} beside {words}"


def _gain(results: Results, name: str, other: str) -> Points:
    """On all corrupted pictures."""
    return subtract(list_all_corrupted(results, name), list_all_corrupted(results, other))
