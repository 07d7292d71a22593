"""The results of a pool's training: its members, the choice, the logits on test."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cascades.selection import Candidate, Choice
from training.choosing.replay import Logits, Plan, Replay, replay
from training.data.sets import DataSet
from training.export.members import Ready

COST_BATCH = 32  # the batch size whose time a picture is the cost of a net


@dataclass(frozen=True, slots=True)
class Findings:
    """`test` are the logits on test pictures, computed when `choice` was made."""

    data: DataSet
    ready: Mapping[str, Ready]
    temperatures: Mapping[str, float]
    large: str  # the most accurate single net on held-out pictures
    choice: Choice
    test: Mapping[str, Logits]

    @property
    def plan(self) -> Plan:
        """The chosen cascade's decisions."""
        return plan_of(self.choice.chosen)

    def replay_test(self, names: Sequence[str], plan: Plan) -> Replay:
        stages = [self.test[name] for name in names]
        return replay(stages, self.data.test.labels, plan)

    def replay_held_out(self, names: Sequence[str], plan: Plan) -> Replay:
        stages = [self.ready[name].held_out for name in names]
        return replay(stages, self.data.held_out.labels, plan)

    def costs_us(self, names: Sequence[str]) -> list[float]:
        return [self.ready[name].us_per_picture[COST_BATCH] for name in names]

    def macs(self, names: Sequence[str]) -> list[float]:
        return [float(self.ready[name].macs) for name in names]


def plan_of(candidate: Candidate) -> Plan:
    return Plan(candidate.thresholds, candidate.temperatures, candidate.score, candidate.combine)
