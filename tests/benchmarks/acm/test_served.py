"""Both routes are really served; without one of them nothing starts."""

from pathlib import Path

import pytest

from benchmarks.acm.names import SERVED, SERVED_CONNECTIONS, SERVED_ROUTES
from benchmarks.acm.report import REPORTS
from benchmarks.acm.served import copy_routes, measure_served
from core.manifest import read_manifest
from harness.results import Results
from harness.tiny_routes import make_pictures, write_route
from tests.fakes.tiny_acm import write_acm

REPORT = REPORTS["fashion-mnist"]


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


def test_copies_of_the_routes_have_one_batch_limit(tmp_path: Path) -> None:
    models = tmp_path / "models"
    originals = [
        write_route(models, route=SERVED_ROUTES["dense"], pipeline="single", stages=1, max_batch=2),
        write_acm(models, route=SERVED_ROUTES["acm"]),
    ]
    limits = [read_manifest(path).stages[0].max_batch for path in originals]
    copies = copy_routes(models, tmp_path / "copies")
    found = [read_manifest(copies / path.relative_to(models)) for path in originals]
    assert [one.stages[0].max_batch for one in found] == [max(limits)] * 2 != limits
    assert [read_manifest(path).stages[0].max_batch for path in originals] == limits


def test_a_missing_route_is_said_and_left_out(tmp_path: Path) -> None:
    said: list[str] = []
    pictures = make_pictures(1)
    assert list(measure_served(tmp_path, pictures, tmp_path, 1, 0.1, said.append)) == []
    (sentence,) = said
    assert "left out" in sentence
