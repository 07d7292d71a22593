"""The comparison's report: verdicts follow from the samples, and only from them."""

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from benchmarks.compare_frozen import (
    AS_IT_IS,
    CLEANED,
    CONVERTED,
    GUIDED,
    GUIDED_CLEANED,
    RETRAINED,
)
from benchmarks.compare_judge import judge_compare
from benchmarks.compare_plot import name_points
from benchmarks.compare_scores import find_best_converter, find_front, stand
from benchmarks.compare_tables import show_conversions
from benchmarks.compare_trunk import TIMED
from benchmarks.compare_verdict import write_verdict
from benchmarks.contestants import CONTESTANTS
from benchmarks.corruptions import CORRUPTIONS
from benchmarks.report import write_report
from benchmarks.results import QUICK_FOLDER, Results, Sample, write_results
from benchmarks.verdicts import Row

SEEDS = (1, 2, 3)
# accuracy, CPU µs a picture, device µs a picture
NUMBERS = {
    "lenet": (0.992, 200.0, 140.0),
    "branchynet": (0.9922, 70.0, 45.0),
    "truncated": (0.986, 50.0, 30.0),
    "mlp": (0.985, 55.0, 34.0),
    "light": (0.991, 26.0, 14.0),
    "light-distilled": (0.9921, 26.0, 14.0),
    "small": (0.9935, 34.0, 18.0),
    "cbnet": (0.9905, 48.0, 26.0),
    "cbnet-dense": (0.987, 60.0, 45.0),
    "cbnet-gated": (0.9934, 38.0, 20.0),
    "encoder-only": (0.9915, 25.0, 13.0),
    "plain-encoder": (0.9914, 25.0, 13.1),
    "light-full": (0.9932, 39.0, 21.0),
    "dual": (0.9934, 30.0, 16.0),
}
FROZEN = {
    AS_IT_IS: 0.5, CONVERTED: 0.55, GUIDED: 0.7, CLEANED: 0.6, GUIDED_CLEANED: 0.65, RETRAINED: 0.8,
}  # fmt: skip


def corrupted(share: float) -> dict[str, float]:
    return {f"corrupt_{kind}_{strength}": share for kind in CORRUPTIONS for strength in (1, 2, 3)}


def make_samples(
    changes: dict[str, tuple[float, float, float]] | None = None,
    frozen: dict[str, float] | None = None,
    *,
    seeds: tuple[int, ...] = SEEDS,
) -> list[Sample]:
    samples: list[Sample] = []
    for name, (accuracy, cpu_us, device_us) in (NUMBERS | (changes or {})).items():
        for seed in seeds:
            facts = describe(name, accuracy + 0.0002 * (seed - 2))
            samples += [Sample(name, seed, metric, value) for metric, value in facts.items()]
        for run in range(2):  # the machine drifts, for all contestants the same
            times = time(name, cpu_us * (1 + run), device_us * (1 + run))
            samples += [Sample(name, run, metric, value) for metric, value in times.items()]
    for variant, share in (FROZEN if frozen is None else frozen).items():
        for seed in seeds:
            facts = {"accuracy": 0.9, "macs": 1e5, **corrupted(share + 0.001 * seed)}
            samples += [Sample(variant, seed, metric, value) for metric, value in facts.items()]
    return samples


def describe(name: str, accuracy: float) -> dict[str, float]:
    facts = {
        "accuracy": accuracy,
        "held_out_accuracy": accuracy - 0.001,
        "macs": 1e5,
        "rows": 10_000,
        "trial_rows": 1000,
        "epochs": 12,
        **corrupted(accuracy - 0.3),
        "strange_noise": 0.1,
        "strange_fashion-mnist": 0.4,
    }
    if name in ("branchynet", "cbnet-gated"):
        facts |= {"ended_0": 0.95, "ended_1": 0.03, "ended_2": 0.02, "right_0": 0.995}
    if name == "cbnet-gated":
        for stranger in ("noise", "fashion-mnist"):
            facts |= {f"converted_{stranger}": 0.02, f"converted_confident_{stranger}": 0.01}
    return facts


def time(name: str, cpu_us: float, device_us: float) -> dict[str, float]:
    times = {
        "bulk_cpu_us": cpu_us,
        "bulk_device_us": device_us,
        "many_cpu_us": cpu_us + 80,
        "lone_cpu_us": 400.0,
        "lone_device_us": 100.0,
        "bulk_mj": 0.1,
        "bulk_source": 5,
        "bulk_wrong": 0,
        "many_errors": 0,
    }
    times["bare_us"] = device_us
    return times | ({"trunk_us": device_us / 2} if name in TIMED else {})


def make_results(samples: list[Sample], data: str = "mnist") -> Results:
    return Results({"bench": f"compare_{data}"}, samples)


def judge(samples: list[Sample], data: str = "mnist") -> dict[str, Row]:
    return {row.what: row for row in judge_compare(make_results(samples, data))}


def find(rows: dict[str, Row], words: str) -> Row:
    (row,) = [row for what, row in rows.items() if words in what]
    return row


def test_numbers_within_every_target_meet_it() -> None:
    rows = judge(make_samples())
    assert len(rows) == 11
    assert [what for what, row in rows.items() if not row.met] == []


@pytest.mark.parametrize(
    ("changes", "missed"),
    [
        ({"cbnet": (0.9859, 48.0, 26.0)}, "every picture is converted"),
        ({"cbnet-dense": (0.98, 60.0, 45.0)}, "the authors' own nets"),
        ({"cbnet-gated": (0.9925, 38.0, 20.0)}, "Accuracy of the best converter"),
        ({"cbnet-gated": (0.9934, 38.0, 23.5)}, "bare nets: times less than LeNet's"),
        ({"cbnet-gated": (0.9934, 38.0, 23.5)}, "in the server's stages: times less"),
        ({"lenet": (0.9935, 200.0, 140.0)}, "bare nets: times less than LeNet's"),
        ({"cbnet-gated": (0.9934, 43.0, 20.0)}, "against lenet"),
        ({"lenet": (0.9935, 200.0, 140.0)}, "against lenet"),
        ({"branchynet": (0.9922, 54.0, 45.0)}, "against branchynet"),
        ({"branchynet": (0.9909, 70.0, 45.0)}, "BranchyNet with its exits"),
    ],
)
def test_a_number_past_its_target_is_a_miss(
    changes: dict[str, tuple[float, float, float]], missed: str
) -> None:
    assert find(judge(make_samples(changes)), missed).met is False


def test_a_wrong_answer_is_a_miss() -> None:
    samples = [*make_samples(), Sample("lenet", 2, "lone_wrong", 1)]
    assert find(judge(samples), "Errors and wrong").met is False


def test_times_are_compared_run_by_run() -> None:
    for where in ("bare nets", "in the server's stages"):
        row = find(judge(make_samples()), f"{where}: times less")
        assert row.measured == "7.0 × [7.0–7.0]"


def test_the_best_converter_is_chosen_on_held_out_pictures() -> None:
    samples = [s for s in make_samples() if s.metric != "held_out_accuracy"]
    held_out = dict.fromkeys(CONTESTANTS, 0.9) | {"encoder-only": 0.91}
    samples += [Sample(name, 1, "held_out_accuracy", value) for name, value in held_out.items()]
    assert find_best_converter(make_results(samples)) == "encoder-only"


def test_the_front_is_whom_nobody_beats() -> None:
    front = find_front(stand(make_results(make_samples())))
    assert [one.name for one in front] == ["encoder-only", "light-distilled", "dual", "small"]


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


def test_without_the_frozen_classifier_nobody_says_when_converting_wins() -> None:
    row = find(judge(make_samples(frozen={})), "against the controls")
    assert row.met is None
    assert "without the frozen classifier" in row.sentence()


@pytest.mark.parametrize(("device_us", "met"), [(501.0, True), (499.0, False)])
def test_rebatching_counts_on_a_net_that_is_dear_enough(
    device_us: float, met: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("benchmarks.compare_judge.FOLDER", tmp_path)
    samples = [Sample("whole", 1, "device_us", device_us), Sample("whole", 1, "requests_s", 100.0)]
    write_results("exits", "", [*samples, Sample("exits", 1, "requests_s", 200.0)], tmp_path)
    assert find(judge(make_samples(), "fashion-mnist"), "with two exits").met is met


def test_a_trial_shows_the_pictures_of_its_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    drawn = tmp_path / QUICK_FOLDER / "img" / "mnist-converted.png"
    drawn.parent.mkdir(parents=True)
    drawn.touch()
    for options, shown in (("--quick", True), ("--seeds 1 --epochs 1", True), ("--seeds 3", False)):
        facts = {"bench": "compare_mnist", "command": f"sparing compare {options}"}
        text = show_conversions(Results(facts, []))
        assert ("](img/mnist-converted.png)" in text) is shown


def test_names_in_the_picture_hide_nothing(tmp_path: Path) -> None:
    crowd = make_samples({"light-full": (0.9934, 38.1, 21.0), "dual": (0.9933, 37.8, 16.0)})
    standings = list(stand(make_results(crowd)).values())
    axes = Figure(figsize=(8, 5)).subplots()
    axes.set(xscale="log", xlim=(20, 400), ylim=(98.3, 99.6))
    name_points(axes, standings)
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) == len(CONTESTANTS)
    for place, box in enumerate(boxes):
        assert box.count_overlaps(boxes[:place]) == 0, standings[place].name
        for one in standings:
            assert not box.contains(*axes.transData.transform((one.cost_us, one.accuracy)))


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


def test_both_data_sets_make_one_page_with_every_table(tmp_path: Path) -> None:
    samples = make_samples()
    for data in ("fashion-mnist", "mnist"):
        command = f"sparing compare --data {data}"
        source = write_results(f"compare_{data}", command, samples, tmp_path)
    path = write_report("compare_mnist", source, tmp_path / "reports")
    text = path.read_text()
    assert path.name == "cbnet.md"
    for data in ("fashion-mnist", "mnist"):
        assert f"## What converting is worth on {data}" in text
        assert f"`sparing compare --data {data}`" in text
        assert (tmp_path / "reports" / "img" / f"compare_{data}.png").stat().st_size > 10_000
    for title in (
        "Targets", "Verdict", "All contestants", "By the papers' own timer",
        "Corrupted pictures and strangers", "A frozen classifier on corrupted pictures",
        "Conversions",
    ):  # fmt: skip
        assert text.count(f"### {title}\n") == 2, title
    assert all(text.count(f"- `{name}`: ") == 2 for name in CONTESTANTS)
    assert text.count("Every net learnt for 12 epochs, `plain-encoder` twice") == 2
    assert f"| {AS_IT_IS} |" not in text  # where nothing of it is in the table
