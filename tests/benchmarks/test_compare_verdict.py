"""The comparison in words: every sentence follows from the samples, and turns with them."""

import pytest

from benchmarks.compare_frozen import (
    CONVERTED,
    GUIDED,
)
from benchmarks.compare_verdict import write_verdict
from benchmarks.contestants import CONTESTANTS
from benchmarks.results import Sample
from tests.fakes.comparisons import (
    FROZEN,
    SEEDS,
    find,
    judge,
    make_results,
    make_samples,
)


def test_the_verdict_names_who_beats_a_converter_and_who_does_not() -> None:
    text = write_verdict(make_results(make_samples()))
    assert (
        "`encoder-only` (99.15 ± 0.05 %, 38 µs) is beaten by no control; the best as cheap, "
        "`plain-encoder`: -0.01 ± 0.00 points for 38 µs. Its encoder is the converter's, so that"
    ) in text
    assert (
        "`cbnet-gated` (99.34 ± 0.05 %, 57 µs) is beaten by `small` and `dual`; the best of them, "
        "`small`: +0.01 ± 0.00 points for 51 µs."
    ) in text
    won = make_samples({"cbnet-gated": (0.9950, 30.0, 10.0)})
    text = write_verdict(make_results(won))
    assert (
        "`cbnet-gated` (99.50 ± 0.05 %, 45 µs) is beaten by no control; the best as cheap, "
        "`dual`: -0.16 ± 0.00 points for 45 µs."
    ) in text
    assert "no control beats it" in find(judge(won), "against the controls").measured


def test_converting_earns_its_place_only_above_every_control_of_about_its_cost() -> None:
    text = write_verdict(make_results(make_samples()))
    assert "no converter is more accurate than every control of at most 10% more CPU" in text
    won = make_samples({"cbnet-gated": (0.9950, 38.0, 20.0)})
    text = write_verdict(make_results(won))
    assert "`cbnet-gated` is more accurate than every control of at most 10% more CPU" in text
    near = {"cbnet-gated": (0.9950, 38.0, 20.0), "light-full": (0.9951, 41.0, 21.0)}
    text = write_verdict(make_results(make_samples(near)))
    assert "does not earn its place" in text


def test_a_difference_within_its_interval_is_told_to_be_unsure() -> None:
    samples = [s for s in make_samples() if (s.case, s.metric) != ("cbnet-gated", "accuracy")]
    for seed, accuracy in zip(SEEDS, (0.9920, 0.9950, 0.9932), strict=True):
        samples.append(Sample("cbnet-gated", seed, "accuracy", accuracy))
    text = write_verdict(make_results(samples))
    assert "`small`: +0.01 ± 0.36 points (not sure: its interval holds 0) for 51 µs." in text
    alone = write_verdict(make_results(make_samples(seeds=(1,))))
    assert "One seed: no interval" in alone
    assert "not sure" not in alone


def test_converting_is_set_beside_the_same_nets_on_corrupted_pictures_and_strangers() -> None:
    samples = [s for s in make_samples() if s.metric != "strange_noise"]
    samples += [
        Sample(name, 1, "strange_noise", 0.3 if name == "cbnet" else 0.2) for name in CONTESTANTS
    ]
    text = write_verdict(make_results(samples))
    assert "the most accurate is `small` with 69.3 ± 0.0 %" in text
    assert "`cbnet` over `light-distilled` -0.16 ± 0.00 points" in text
    assert "of noise `cbnet` 30.0 (20.0) %, `cbnet-dense` 20.0 (20.0) %" in text
    assert "Converting makes them more frequent: `cbnet` of noise." in text


@pytest.mark.parametrize(
    ("converted", "guided", "words"),
    [
        (0.65, 0.7, "converting wins: +5.00 ± 0.00 points beside the same autoencoder that only "
                    "cleans; where both are told the classifier's loss, it wins: +5.00 ± 0.00 "),
        (0.55, 0.6, "converting does not win: -5.00 ± 0.00 points beside the same autoencoder that "
                    "only cleans; where both are told the classifier's loss, it does not win: "
                    "-5.00 ± 0.00 points beside cleaning."),
        (0.4, 0.45, "converting does not win: -10.00 ± 0.00 points beside the classifier alone; "
                    "where both are told the classifier's loss, it does not win: -5.00 ±"),
    ],
)  # fmt: skip
def test_before_a_frozen_classifier_converting_is_judged_against_cleaning(
    converted: float, guided: float, words: str
) -> None:
    frozen = FROZEN | {CONVERTED: converted, GUIDED: guided}
    text = write_verdict(make_results(make_samples(frozen=frozen)))
    assert words in text
    assert "only cleaning +10.00 ± 0.00 points (+0.00 ± 0.00 points on clean pictures)" in text
    assert "was not measured" in write_verdict(make_results(make_samples(frozen={})))


def test_the_papers_timer_is_only_said_to_flatter_where_it_does() -> None:
    samples = make_samples()
    fair = [s for s in samples if s.metric != "trunk_us"]
    fair += [Sample(s.case, s.run, "trunk_us", s.value) for s in samples if s.metric == "bare_us"]
    assert "flatters nobody here" in write_verdict(make_results(fair))
    lenet = [s for s in samples if (s.case, s.metric) != ("lenet", "trunk_us")]
    lenet += [Sample("lenet", run, "trunk_us", 140.0) for run in range(2)]
    text = write_verdict(make_results(lenet))
    assert "flatters `cbnet-dense`, `branchynet` and `truncated`" in text
    alike = [s for s in samples if s.metric != "trunk_us"]
    alike += [Sample(s.case, s.run, "trunk_us", s.value * (0.999 if s.case != "lenet" else 1.0))
              for s in samples if s.metric == "bare_us"]  # fmt: skip
    assert "flatters nobody here" in write_verdict(make_results(alike))
