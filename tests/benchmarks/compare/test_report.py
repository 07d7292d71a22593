"""The comparison is judged by its best converter, which held-out pictures choose."""

from pathlib import Path

import pytest

from benchmarks.compare.measuring.candidates import CONVERTERS
from benchmarks.compare.report import REPORTS, find_best_converter
from harness.results import FOLDER, Results, Sample, find_newest, read_results

ROOT = Path(__file__).parents[3]


@pytest.fixture
def measured() -> Results:
    return read_results(find_newest("compare_mnist", ROOT / FOLDER))


def test_the_best_converter_is_chosen_on_held_out_pictures(measured: Results) -> None:
    assert find_best_converter(measured) == "cbnet-gated"
    held_out = dict.fromkeys(CONVERTERS, 0.9) | {"cbnet": 0.91}
    samples = [s for s in measured.samples if s.metric != "held_out_accuracy"]
    samples += [Sample(name, 1, "held_out_accuracy", value) for name, value in held_out.items()]
    assert find_best_converter(Results(measured.facts, samples)) == "cbnet"


@pytest.mark.parametrize("fault", ["lone_errors", "many_wrong", "bulk_wrong"])
def test_a_wrong_answer_is_a_miss(measured: Results, fault: str) -> None:
    samples = [*measured.samples, Sample("lenet", 1, fault, 1)]
    before, after = (
        REPORTS["mnist"].judge(Results(measured.facts, some))[-1]
        for some in (measured.samples, samples)
    )
    assert (before.met, after.met) == (True, False)
