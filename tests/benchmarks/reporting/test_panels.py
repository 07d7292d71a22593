"""Names of points hide nothing."""

from matplotlib.figure import Figure

from benchmarks.reporting.panels import Curves

CROWD = {f"network-{place}": [(38 + place / 9, 99.3 + place % 3 / 400)] for place in range(8)}


def test_names_in_a_plot_hide_neither_points_nor_names() -> None:
    axes = Figure(figsize=(8, 5)).subplots()
    panel = Curves("", "x", "y", CROWD, log="x", named=True)
    panel.draw(axes)
    axes.set(xlim=(20, 100), ylim=(99.2, 99.4))
    panel.name_points(axes)
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) == len(CROWD)
    for place, box in enumerate(boxes):
        assert box.count_overlaps(boxes[:place]) == 0, place
        for ((point, *_),) in zip(CROWD.values(), strict=True):
            assert not box.contains(*axes.transData.transform(point))
