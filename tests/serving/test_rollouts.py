"""Rollouts in a catalog: which version answers, what is counted, and files that are wrong."""

import logging
from pathlib import Path

import pytest

from core.devices.onnx import OnnxDevice
from core.messages import Reply, Request
from harness.tiny_routes import make_pictures, write_route
from monitoring.metrics.collector import Metrics
from monitoring.metrics.rollout_counts import RoleCounts
from routes.rollouts import FILE, RolloutPlan, write_plan
from serving.devices import RouteDevices
from serving.engine.catalog import Catalog
from serving.engine.engine import Engine
from serving.reload import Reloader
from tests.fakes.toys import with_engine

KEYS = [f"caller {number}" for number in range(400)]


class Scene:
    """A models directory with versions 1 and 2 of the route `tiny`, and its catalog."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.file = root / "tiny" / FILE
        for version in ("1", "2"):
            write_route(root, version=version, seed=int(version))
        self.catalog = Catalog()
        self.metrics = Metrics()
        devices = RouteDevices([OnnxDevice()])
        self.reloader = Reloader([root], self.catalog, devices, self.metrics, is_cached=True)
        self.reloader.refresh()

    def plan(self, stable: str, canary: str = "", share: float = 0.0) -> bool:
        write_plan(self.file, RolloutPlan(stable, canary, share))
        return self.reloader.refresh()

    def versions(self) -> set[str]:
        return {self.catalog.resolve("tiny", None, key).version for key in KEYS}

    def counts(self, role: str) -> RoleCounts:
        (state,) = self.catalog.rollouts()
        return state.roles[role][1]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_without_a_file_the_bare_name_is_the_newest_version_for_every_key(scene: Scene) -> None:
    newest = scene.catalog.resolve("tiny", "2")
    assert scene.catalog.resolve("tiny", None) is newest
    assert all(scene.catalog.resolve("tiny", None, key) is newest for key in KEYS)
    assert scene.catalog.rollouts() == []
    assert scene.catalog.describe_rollout(newest) is None
    assert b"sparing_rollout" not in scene.metrics.render()[0]


def test_a_rollout_is_followed_step_by_step_without_reloading_a_model(scene: Scene) -> None:
    before = scene.catalog.routes()
    assert scene.plan("1", "2", 0.0) is True
    assert scene.versions() == {"1"}
    assert scene.plan("1", "2", 0.3) is True
    chosen = [scene.catalog.resolve("tiny", None, key).version for key in KEYS]
    assert 60 < chosen.count("2") < 180
    assert scene.plan("1", "2", 0.3) is False  # written again, and the same
    assert scene.plan("1", "2", 1.0) is True
    assert scene.versions() == {"2"}
    assert scene.plan("2") is True
    assert scene.versions() == {"2"}
    scene.file.unlink()
    assert scene.reloader.refresh() is True
    assert scene.versions() == {"2"}
    assert scene.catalog.routes() == before


def test_a_rollback_pins_the_stable_version_below_a_newer_one(scene: Scene) -> None:
    scene.plan("1", "2", 0.5)
    scene.plan("1")
    assert scene.versions() == {"1"}
    assert [one.version for one in scene.catalog.newest()] == ["1"]


def test_a_request_that_names_a_version_is_never_redirected(scene: Scene) -> None:
    scene.plan("1", "2", 1.0)
    for version in ("1", "2"):
        served = scene.catalog.resolve("tiny", version, "anyone")
        assert served.version == version
        assert served.role_counts is None


def test_where_no_caller_is_known_the_stable_version_answers(scene: Scene) -> None:
    scene.plan("1", "2", 1.0)
    assert scene.catalog.resolve("tiny", None).version == "1"
    assert [one.version for one in scene.catalog.newest()] == ["1"]


def test_a_canary_that_is_not_there_yet_gets_nothing_and_joins_when_it_comes(scene: Scene) -> None:
    scene.plan("2", "3", 1.0)
    assert scene.versions() == {"2"}
    write_route(scene.root, version="3", seed=3)
    scene.reloader.refresh()
    assert scene.versions() == {"3"}


def test_a_stable_version_that_is_not_there_is_not_replaced_by_the_canary(scene: Scene) -> None:
    scene.plan("7", "2", 0.0)
    assert scene.versions() == {"1"}


def test_a_wrong_file_leaves_the_plan_in_force_and_logs_one_line(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.plan("1", "2", 0.0)
    with caplog.at_level(logging.ERROR, logger="sparing.routes"):
        for text in ("stable = ", "stable = "):
            scene.file.write_text(text)
            assert scene.reloader.refresh() is False
        assert scene.versions() == {"1"}
        (record,) = caplog.records
    assert "rollout refused" in record.getMessage()
    assert str(scene.file) in record.getMessage()


def test_a_share_that_grows_goes_on_counting_and_another_model_counts_anew(scene: Scene) -> None:
    scene.plan("1", "2", 0.5)
    before = scene.counts("canary")
    scene.plan("1", "2", 0.9)
    assert scene.counts("canary") is before
    write_route(scene.root, version="2", seed=22)
    scene.reloader.refresh()
    assert scene.counts("canary") is not before


def test_requests_rows_and_latency_are_counted_by_role(scene: Scene) -> None:
    scene.plan("1", "2", 0.5)
    by_role = {scene.catalog.resolve("tiny", None, key).version: key for key in KEYS}

    async def ask(engine: Engine) -> list[Reply]:
        engine.catalog = scene.catalog
        replies: list[Reply] = []
        for version, asked in (("1", None), ("2", None), ("2", None), ("2", "2")):
            request = Request("tiny", {"image": make_pictures(3, seed=len(replies))}, asked)
            replies.append(await engine.answer(request._replace(caller=by_role[version])))
        return replies

    replies = with_engine(ask)
    assert [reply.version for reply in replies] == ["1", "2", "2", "2"]
    assert (scene.counts("stable").rows, scene.counts("canary").rows) == (3, 6)
    assert sum(scene.counts("canary").latency.counts) >= 2
    scene.catalog.count_result("tiny", None, by_role["2"], "ok")
    scene.catalog.count_result("tiny", None, by_role["2"], "StageFailed")
    scene.catalog.count_result("tiny", "2", by_role["2"], "ok")  # named its version
    assert scene.counts("canary").requests == {"ok": 1, "StageFailed": 1}
    assert scene.counts("stable").requests == {"ok": 0}


def test_answers_of_the_cache_do_not_count_in_the_comparison(scene: Scene) -> None:
    scene.plan("1", "2", 0.0)

    async def ask(engine: Engine) -> None:
        engine.catalog = scene.catalog
        for served in scene.catalog.routes():
            served.cache_row_s = 0.0  # so that every row is worth caching
        scene.catalog.replace(scene.catalog.routes(), {"tiny": RolloutPlan("1", "2", 0.0)})
        for _ in range(2):
            await engine.answer(Request("tiny", {"image": make_pictures(1)}, caller="anyone"))

    with_engine(ask)
    assert scene.counts("stable").rows == 1


def test_the_scrape_names_roles_and_versions(scene: Scene) -> None:
    scene.plan("1", "2", 0.25)
    text = scene.metrics.render()[0].decode()
    assert "sparing_rollout" not in text
    scene.metrics.add_rollout_reader(scene.catalog.rollouts)
    text = scene.metrics.render()[0].decode()
    assert 'sparing_rollout_share{route="tiny"} 0.25' in text
    assert 'sparing_rollout_info{role="canary",route="tiny",version="2"} 1.0' in text
    assert 'sparing_rollout_requests_total{result="ok",role="stable",route="tiny"} 0.0' in text
    assert 'sparing_rollout_latency_seconds_bucket{le="+Inf",role="canary",route="tiny"}' in text


def test_the_role_stands_in_the_list_of_routes(scene: Scene) -> None:
    scene.plan("1", "2", 0.25)
    routes = scene.catalog.routes()
    assert {one.version: scene.catalog.describe_rollout(one) for one in routes} == {
        "1": {"role": "stable", "share": 0.25},
        "2": {"role": "canary", "share": 0.25},
    }
