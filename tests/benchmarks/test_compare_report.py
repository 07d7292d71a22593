"""The comparison's report: verdicts follow from the samples, and only from them."""

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from benchmarks.compare_frozen import (
    AS_IT_IS,
)
from benchmarks.compare_plot import name_points
from benchmarks.compare_scores import find_best_converter, find_front, stand
from benchmarks.compare_tables import show_conversions
from benchmarks.contestants import CONTESTANTS
from benchmarks.report import write_report
from benchmarks.results import QUICK_FOLDER, Results, Sample, write_results
from tests.fakes.comparisons import (
    find,
    judge,
    make_results,
    make_samples,
)


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
