"""The verdict on the frozen classifier: does converting win where nothing may be retrained?

Converting is judged against doing nothing and, as fairly as can be, against cleaning: the same
autoencoder, loss and epochs, another target. Telling the autoencoder the classifier's loss is a
help that cleaning was not given; so it is told apart.
"""

from benchmarks.compare_frozen import AS_IT_IS, CLEANED, CONVERTED, GUIDED, RETRAINED
from benchmarks.compare_robust_tables import list_all_corrupted
from benchmarks.compare_scores import (
    Points,
    compare_accuracy,
    has,
    hedge,
    says_points,
    subtract,
    times_less,
)
from benchmarks.results import Results

WAYS = {
    CONVERTED: "converting",
    GUIDED: "converting and told the classifier's loss",
    CLEANED: "only cleaning",
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
        f"An autoencoder makes {macs:.1f} times the MACs of the classifier alone.",
    ]


def _name_winner(results: Results) -> str:
    plain, told = (_gain(results, name, AS_IT_IS) for name in (CONVERTED, GUIDED))
    beside, told_beside = (_gain(results, name, CLEANED) for name in (CONVERTED, GUIDED))
    if max(plain[0], told[0]) <= 0:
        return f"converting does not win: {says_points(plain)}{hedge(plain)}"
    if plain[0] > 0 and beside[0] > 0:
        return (
            f"converting wins: {says_points(beside)} over the same autoencoder that only "
            f"cleans{hedge(beside)}"
        )
    words = (
        f"converting does not win: {says_points(beside)} beside the same autoencoder that only "
        f"cleans{hedge(beside)}"
    )
    if told[0] > 0 and told_beside[0] > 0:
        return (
            f"{words}; where it is told the classifier's loss, which cleaning was not, it wins: "
            f"{says_points(told_beside)}{hedge(told_beside)}"
        )
    return (
        f"{words}; nor does it where it is told the classifier's loss: {says_points(told_beside)}"
        f"{hedge(told_beside)}"
    )


def _gain(results: Results, name: str, other: str) -> Points:
    """On all corrupted pictures."""
    return subtract(list_all_corrupted(results, name), list_all_corrupted(results, other))
