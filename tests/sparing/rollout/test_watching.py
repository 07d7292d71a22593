"""A watched rollout: its steps, and what ends it early. Time and traffic are simulated."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from routes.rollouts import RolloutPlan
from sparing.failure import Failure
from sparing.rollout.comparing import Check, Limits
from sparing.rollout.folders import RouteFolder
from sparing.rollout.samples import Buckets, Sample, Samples
from sparing.rollout.watching import Pace, Watch

PACE = Pace(step_s=60.0, max_step_s=600.0, interval_s=10.0, settle_s=5.0)


class World:
    """A route's folder, and requests that follow its file while time passes."""

    def __init__(self, root: Path, per_s: float = 2000.0) -> None:
        for version in ("1", "2"):
            (root / "tiny" / version).mkdir(parents=True)
        self.folder = RouteFolder([root], "tiny")
        self.per_s = per_s
        self.now = 0.0
        self.requests = [0.0, 0.0]
        self.failed = [0.0, 0.0]
        self.failing: Callable[[float], float] = lambda share: 0.0  # of the canary's requests
        self.shares: list[float] = []
        self.said: list[str] = []
        self.broken = False

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        plan = self.folder.read()
        assert plan is not None
        if not self.shares or self.shares[-1] != plan.share:
            self.shares.append(plan.share)
        asked = self.per_s * seconds
        self.requests[0] += asked * (1 - plan.share)
        self.requests[1] += asked * plan.share
        self.failed[1] += asked * plan.share * self.failing(plan.share)

    def look(self) -> Samples:
        if self.broken:
            raise Failure("no server answers")
        return Samples(*(self._sample(role) for role in (0, 1)))

    def _sample(self, role: int) -> Sample:
        requests, failed = round(self.requests[role]), round(self.failed[role])
        times = Buckets((0.01, math.inf), (requests, 0), requests * 0.005)
        results = {"ok": requests - failed, "StageFailed": failed}
        return Sample(results, times, rows=requests)

    def say(self, sentence: str, _checks: Sequence[Check]) -> None:
        self.said.append(sentence)

    def watch(self, share: float = 0.01) -> str:
        plan = self.folder.begin(None, None, share)
        watch = Watch(
            self.folder, self.look, Limits(), PACE,
            clock=lambda: self.now, sleep=self.sleep, say=self.say,
        )  # fmt: skip
        return watch.run(plan)


def test_a_good_canary_goes_through_all_steps_and_is_promoted(tmp_path: Path) -> None:
    world = World(tmp_path)
    assert world.watch() == "promoted"
    assert world.shares == [0.01, 0.05, 0.25]
    assert world.folder.read() == RolloutPlan("2")


def test_a_canary_that_fails_is_rolled_back_before_its_step_is_over(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.failing = lambda share: 0.2
    assert world.watch() == "rolled back"
    assert world.now < PACE.step_s
    assert world.folder.read() == RolloutPlan("1")


def test_a_canary_that_fails_only_under_more_load_is_rolled_back_then(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.failing = lambda share: 0.05 if share > 0.2 else 0.0
    assert world.watch() == "rolled back"
    assert world.shares == [0.01, 0.05, 0.25]


def test_a_step_waits_for_enough_requests_and_gives_up_in_the_end(tmp_path: Path) -> None:
    world = World(tmp_path, per_s=1.0)
    assert world.watch() == "rolled back"
    assert world.now >= PACE.max_step_s
    assert "undecided" in world.said[-1]


def test_servers_that_never_answer_end_in_a_rollback(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.broken = True
    assert world.watch() == "rolled back"
    assert "no server answers" in world.said


def test_watching_goes_on_from_the_share_under_way(tmp_path: Path) -> None:
    world = World(tmp_path)
    assert world.watch(0.05) == "promoted"
    assert world.shares == [0.05, 0.25]


def test_a_file_that_another_one_changes_ends_the_watching(tmp_path: Path) -> None:
    world = World(tmp_path)
    other = RolloutPlan("1", "2", 0.4)
    slept = world.sleep

    def sleep(seconds: float) -> None:
        slept(seconds)
        if world.now > 30:
            world.folder.write(other)

    world.sleep = sleep  # type: ignore[method-assign]
    with pytest.raises(Failure, match="changed by something else"):
        world.watch()
    assert world.folder.read() == other
