"""The folder of a route: its versions and its rollout file."""

from collections.abc import Sequence
from pathlib import Path

from core.errors import ModelDirectoryError
from routes.rollouts import FILE, RolloutPlan, read_plan, write_plan
from sparing.failure import Failure

FIRST_SHARE = 0.01


class RouteFolder:
    """One route in a model directory. Raises Failure if no directory has it."""

    def __init__(self, roots: Sequence[Path], route: str) -> None:
        places = [root / route for root in roots]
        found = [place for place in places if route == place.name and place.is_dir()]
        if not found:
            where = ", ".join(str(root) for root in roots)
            raise Failure(f"no route is named {route!r} in {where}")
        self.route = route
        self.path = found[0]
        self.file = self.path / FILE

    def versions(self) -> list[str]:
        """Return the versions that have a folder, newest first."""
        names = [entry.name for entry in self.path.iterdir() if entry.is_dir()]
        return sorted((name for name in names if name.isdecimal()), key=int, reverse=True)

    def read(self) -> RolloutPlan | None:
        """Return the plan in force, None without a file. Raises Failure."""
        try:
            return read_plan(self.file)
        except FileNotFoundError:
            return None
        except ModelDirectoryError as error:
            raise Failure(str(error)) from None
        except OSError as error:
            raise Failure(f"{self.file}: {error.strerror}") from None

    def write(self, plan: RolloutPlan) -> None:
        """Put a plan in force; servers follow when they next look. Raises Failure."""
        try:
            write_plan(self.file, plan)
        except OSError as error:
            raise Failure(f"{self.file}: {error.strerror}") from None

    def begin(self, stable: str | None, canary: str | None, share: float | None) -> RolloutPlan:
        """Write and return a plan, of the newest two versions unless others are named. Without a
        share, the rollout under way keeps its own, and a new one begins small. Raises Failure.
        """
        versions, old = self.versions(), self.read()
        if canary is None:
            canary = versions[0] if versions else ""
        if stable is None:
            others = [version for version in versions if version != canary]
            pinned = old.stable if old is not None and old.stable != canary else ""
            stable = pinned or (others[0] if others else "")
        if stable not in versions:
            raise Failure(
                f"route {self.route!r} has the versions {versions}: a rollout needs a stable one "
                f"beside the canary {canary!r}"
            )
        if stable == canary:
            raise Failure(f"stable and canary are both version {stable}, allowed two versions")
        is_same = old is not None and (old.stable, old.canary) == (stable, canary)
        if old is not None and old.share and not is_same:
            raise Failure(
                f"a rollout of version {old.canary} is under way; promote it or roll it back first"
            )
        if share is None:
            share = old.share if old is not None and is_same else FIRST_SHARE
        plan = RolloutPlan(stable, canary, share)
        self.write(plan)
        return plan

    def running(self) -> RolloutPlan:
        """Return the plan of the rollout under way. Raises Failure if there is none."""
        plan = self.read()
        if plan is None or not plan.canary:
            raise Failure(f"no rollout of route {self.route!r} is under way")
        return plan
