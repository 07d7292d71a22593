"""From how many rows on tokens are sorted, the largest batch, and the check against torch."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.fakes.tiny_acm import make_tiny_net
from training.export.acm_graph import export_acm
from training.export.acm_route import (
    FormTimes,
    check_acm_parity,
    choose_max_batch,
    choose_sorting,
    measure_forms,
)

PICTURES = np.random.default_rng(0).integers(0, 256, (60, 28, 28), dtype=np.uint8)
Table = list[dict[str, float]]


@pytest.mark.parametrize(
    ("ratios", "table"),
    [
        ({0.5: [1.3, 1.1, 0.9, 0.7]}, [{"beta": 0.5, "rows": 4}]),
        ({0.5: [0.9, 0.9, 0.9, 0.9]}, [{"beta": 0.5, "rows": 1}]),
        ({0.5: [1.3, 1.1, 1.0, 0.99]}, []),
        ({0.5: [1.3, 0.9, 1.1, 0.7]}, [{"beta": 0.5, "rows": 8}]),
        (
            {1.0: [1.4, 1.2, 1.1, 1.1], 0.25: [1.2, 0.9, 0.6, 0.5], 0.5: [1.3, 1.1, 0.9, 0.7]},
            [{"beta": 0.25, "rows": 2}, {"beta": 0.5, "rows": 4}],
        ),
        (
            {0.25: [1.2, 1.1, 1.0, 0.5], 0.5: [1.3, 1.1, 0.9, 0.7]},
            [{"beta": 0.25, "rows": 4}, {"beta": 0.5, "rows": 4}],
        ),
    ],
)
def test_sorting_begins_where_it_is_faster_from_there_on(
    ratios: dict[float, list[float]], table: Table
) -> None:
    times = {
        (beta, 2**power): FormTimes(100, 100 * ratio)
        for beta, column in ratios.items()
        for power, ratio in enumerate(column)
    }
    assert choose_sorting(times) == table


@pytest.mark.parametrize(("tokens", "rows"), [(49, 32), (64, 16), (197, 8), (1, 64), (4096, 1)])
def test_the_largest_batch_has_tokens_enough_to_sort(tokens: int, rows: int) -> None:
    assert choose_max_batch(tokens) == rows


def test_times_are_positive_for_every_budget_and_number_of_rows(tmp_path: Path) -> None:
    path = tmp_path / "acm.onnx"
    export_acm(make_tiny_net(), path)
    times = measure_forms(path, PICTURES, (0.5, 1.0), (1, 2))
    assert set(times) == {(0.5, 1), (0.5, 2), (1.0, 1), (1.0, 2)}
    assert all(value > 0 for pair in times.values() for value in pair)


def test_the_graph_of_another_net_is_refused(tmp_path: Path) -> None:
    net, path = make_tiny_net(), tmp_path / "acm.onnx"
    export_acm(net, path)
    assert check_acm_parity(net, path, PICTURES) < 1e-3
    with torch.no_grad():
        net.outer.head.weight.mul_(2)
    with pytest.raises(ValueError, match="logits differ by"):
        check_acm_parity(net, path, PICTURES)
    with pytest.raises(ValueError, match="of pictures choose as in torch"):
        check_acm_parity(make_tiny_net(1), path, PICTURES)
