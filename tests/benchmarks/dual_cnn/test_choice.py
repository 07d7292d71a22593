"""The section on how the cascade was chosen says what the training's results say."""

import pytest

from benchmarks.dual_cnn.choice import describe_choice
from harness.results import FOLDER, find_newest, read_results


@pytest.mark.parametrize(
    ("bench", "data"), [("dual_cnn", "fashion-mnist"), ("dual_cnn_cifar10", "cifar10")]
)
def test_every_rule_and_the_oracle_gap_come_from_the_results(bench: str, data: str) -> None:
    results = read_results(find_newest(f"dual_cnn_training-{data}", FOLDER))
    text = describe_choice(read_results(find_newest(bench, FOLDER)))
    for rule in ("last", "post_check", "average"):
        test = results.median(f"cascade, {rule}", "test_accuracy") * 100
        assert f"`{rule}`" in text
        assert f"{test:.2f} %" in text
    oracle = results.median("cascade, last", "test_oracle") * 100
    assert f"{oracle:.2f} %" in text
