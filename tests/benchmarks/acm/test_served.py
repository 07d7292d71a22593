"""Both routes are really served; without one of them nothing starts."""

from pathlib import Path

import pytest

from benchmarks.acm.names import SERVED, SERVED_CONNECTIONS, SERVED_ROUTES
from benchmarks.acm.report import REPORT
from benchmarks.acm.served import measure_served
from harness.results import Results
from harness.tiny_routes import make_pictures, write_route
from tests.fakes.tiny_acm import write_acm


@pytest.mark.slow
def test_both_routes_are_asked_and_every_answer_is_right(tmp_path: Path) -> None:
    models, work = tmp_path / "models", tmp_path / "work"
    work.mkdir()
    write_route(models, route=SERVED_ROUTES["dense"], pipeline="single", stages=1)
    write_acm(models, route=SERVED_ROUTES["acm"])
    samples = list(measure_served(models, make_pictures(40), work, 1, 0.3, lambda text: None))
    results = Results({}, samples)
    for words in SERVED_ROUTES:
        for connections in SERVED_CONNECTIONS:
            case = SERVED.format(words, connections)
            for metric in ("requests", "device_us", "cpu_us", "served_mmacs"):
                assert results.median(case, metric) > 0
            assert results.median(case, "errors") == results.median(case, "wrong") == 0
    met = {row.what: row.met for row in REPORT.judge(results)}
    assert met["Errors and wrong answers under load"]
    assert met["CPU ratio of a lone request through the server"] is not None


def test_a_missing_route_is_said_and_left_out(tmp_path: Path) -> None:
    said: list[str] = []
    pictures = make_pictures(1)
    assert list(measure_served(tmp_path, pictures, tmp_path, 1, 0.1, said.append)) == []
    (sentence,) = said
    assert "left out" in sentence
