"""Statistics as Triton's extension shapes them, from the counts that `/metrics` shows."""

import numpy as np
import pytest

from core.errors import InvalidInput, UnknownRoute
from core.messages import Step
from monitoring.metrics.collector import Metrics
from serving.engine.catalog import Catalog
from serving.engine.engine import Engine
from serving.oip.descriptions import describe_statistics
from serving.oip.statistics import Duration, read_index, read_statistics
from tests.fakes.toys import ToyStage, ask, final, onward, serve_toy, with_engine


def _light(value: float) -> Step:
    return final(value, "light") if value < 2 else onward(value, "light", "large")


def test_rows_batches_and_hits_are_counted_by_route() -> None:
    metrics = Metrics()
    stages = (ToyStage("light", _light), ToyStage("large", lambda value: final(value, "large")))
    served = serve_toy(*stages, metrics=metrics)

    async def use(engine: Engine) -> None:
        await engine.answer(ask(0.0, 1.0, 2.0))
        await engine.answer(ask(0.0))  # from the cache
        metrics.count_request("toy", "ok")
        metrics.count_request("toy", "ok")
        metrics.count_request("toy", "InvalidInput")
        (found,) = read_statistics(engine.catalog, metrics.request_results)
        assert (found.name, found.version) == ("toy", "1")
        assert (found.inference_count, found.execution_count) == (3, 1)
        assert found.last_inference > 1e12
        times = found.inference_stats
        assert (times.success.count, times.fail.count) == (2, 1)
        assert (times.cache_hit.count, times.cache_miss.count) == (1, 3)
        assert (times.queue.count, times.compute_infer.count) == (4, 4)  # one row in both stages
        assert times.success.ns > times.compute_infer.ns / 4 > 0
        assert [(one.batch_size, one.compute_infer.count) for one in found.batch_stats] == [(3, 1)]
        assert found.batch_stats[0].compute_infer.ns > 0

    with_engine(use, served)


def test_the_newest_version_carries_the_routes_counts() -> None:
    metrics = Metrics()
    stage = ToyStage("one", lambda value: final(value, "one"))
    catalog = Catalog([serve_toy(stage, version=name, metrics=metrics) for name in ("1", "2")])
    metrics.count_request("toy", "ok")
    newest, oldest = read_statistics(catalog, metrics.request_results, "toy")
    assert (newest.version, oldest.version) == ("2", "1")
    assert newest.inference_stats.success == Duration(1, 0)
    assert oldest.inference_stats.success == Duration(0, 0)
    assert read_statistics(catalog, metrics.request_results, "toy", "1") == [oldest]
    with pytest.raises(UnknownRoute, match="no version '3'"):
        read_statistics(catalog, metrics.request_results, "toy", "3")
    with pytest.raises(UnknownRoute, match="'other'"):
        read_statistics(catalog, metrics.request_results, "other")


def test_what_is_not_counted_is_refused_in_words() -> None:
    catalog = Catalog([serve_toy(ToyStage("one", lambda value: final(value, "one")))])
    with pytest.raises(InvalidInput, match=r"metrics\.enabled"):
        read_statistics(catalog, lambda _: {})


def test_the_index_lists_what_takes_requests() -> None:
    catalog = Catalog([serve_toy(ToyStage("one", lambda value: final(value, "one")))])
    (entry,) = read_index(catalog, ready=True, draining=False)
    assert entry._asdict() == {"name": "toy", "version": "1", "state": "READY", "reason": ""}
    assert read_index(catalog, ready=True, draining=True) == []
    (entry,) = read_index(catalog, ready=False, draining=True)
    assert entry.state == "UNAVAILABLE"


def test_statistics_are_written_as_the_extension_names_them() -> None:
    metrics = Metrics()
    catalog = Catalog(
        [serve_toy(ToyStage("one", lambda value: final(value, "one")), metrics=metrics)]
    )
    metrics.add_route("toy", ["one"]).count_batch("one", 2, [(0.5, 2)], 0.25)
    (found,) = read_statistics(catalog, metrics.request_results)
    table = describe_statistics(found)
    zero = {"count": 0, "ns": 0}
    assert table["batch_stats"] == [
        {
            "batch_size": 2,
            "compute_input": zero,
            "compute_infer": {"count": 1, "ns": 250_000_000},
            "compute_output": zero,
        }
    ]
    assert table["inference_stats"]["compute_infer"] == {"count": 2, "ns": 500_000_000}
    assert table["inference_stats"]["queue"] == {"count": 2, "ns": 1_000_000_000}
    assert np.isfinite(table["last_inference"])
