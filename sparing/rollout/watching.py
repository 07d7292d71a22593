"""Takes a rollout through its shares while the comparison holds, and back when it does not."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from routes.rollouts import RolloutPlan
from sparing.failure import Failure
from sparing.rollout.comparing import Check, Limits, Verdict, compare, judge
from sparing.rollout.folders import RouteFolder
from sparing.rollout.samples import Look, Samples

STEPS = (0.01, 0.05, 0.25)  # and then every caller, which is the promotion

Ended = Literal["promoted", "rolled back"]


@dataclass(frozen=True, slots=True)
class Pace:
    """How long a step lasts."""

    step_s: float = 300.0  # at least
    max_step_s: float = 3600.0  # then a comparison that is still undecided does not hold
    interval_s: float = 15.0  # between two looks
    settle_s: float = 5.0  # until every server has read the new share


class Watch:
    """One rollout being watched; `clock` and `sleep` in seconds."""

    def __init__(
        self,
        folder: RouteFolder,
        look: Look,
        limits: Limits,
        pace: Pace,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], object],
        say: Callable[[str, Sequence[Check]], object],
    ) -> None:
        self._folder = folder
        self._look = look
        self._limits = limits
        self._pace = pace
        self._clock = clock
        self._sleep = sleep
        self._say = say

    def run(self, plan: RolloutPlan, steps: Sequence[float] = STEPS) -> Ended:
        """Step from the plan's share on; return when the rollout has ended. Raises Failure if
        something else changes the file; a look that fails is repeated.
        """
        shares = [plan.share, *(share for share in steps if share > plan.share)]
        for share in shares:
            plan = replace(plan, share=share)
            if self._folder.read() != plan:
                self._folder.write(plan)
            if (why := self._step(plan)) is not None:
                self._folder.write(RolloutPlan(plan.stable))
                self._say(f"rolled back to version {plan.stable}: {why}", ())
                return "rolled back"
        self._folder.write(RolloutPlan(plan.canary))
        self._say(f"promoted version {plan.canary}", ())
        return "promoted"

    def _step(self, plan: RolloutPlan) -> str | None:
        """Return why the step does not hold, None if it does."""
        self._say(f"{plan.share:.4g} of the callers get version {plan.canary}", ())
        self._sleep(self._pace.settle_s)
        began = self._clock()
        baseline = self._try_look()
        while True:
            self._sleep(self._pace.interval_s)
            if self._folder.read() != plan:
                raise Failure(f"{self._folder.file} was changed by something else; watching ends")
            verdict: Verdict = "undecided"
            now = self._try_look()
            if now is not None and baseline is not None:
                checks = compare(now.since(baseline), self._limits)
                verdict = judge(checks)
                self._say(f"{plan.share:.4g}: {verdict}", checks)
            elif baseline is None:
                baseline = now
            passed_s = self._clock() - began
            if verdict == "worse":
                return "the canary is worse"
            if verdict == "holds" and passed_s >= self._pace.step_s:
                return None
            if passed_s >= self._pace.max_step_s:
                return f"still undecided after {passed_s:.0f} s"

    def _try_look(self) -> Samples | None:
        try:
            return self._look()
        except Failure as failure:
            self._say(str(failure), ())
            return None
