"""The results of a pool's training: its members, the choice, the logits on test."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cascades.candidates import Candidate
from cascades.selection import Choice
from training.choosing.replay import Logits, Plan, Replay, replay
from training.data.sets import DataSet
from training.export.members import Ready
from training.export.twins import COST_BATCH, SUFFIX, find_net


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

    def find_twin(self, net: str) -> Path | None:
        """The file of a net's int8 twin."""
        twin = self.ready.get(f"{net}{SUFFIX}")
        return None if twin is None else twin.onnx

    def use_twins(self, names: Sequence[str], *, int8: bool) -> list[str]:
        """The same nets, all in int8 where they have a twin, or all in float."""
        nets = [find_net(name, self.ready) for name in names]
        twins = [f"{net}{SUFFIX}" for net in nets]
        pairs = zip(nets, twins, strict=True)
        return [twin if int8 and twin in self.ready else net for net, twin in pairs]

    def macs(self, names: Sequence[str]) -> list[float]:
        return [float(self.ready[name].macs) for name in names]


def plan_of(candidate: Candidate) -> Plan:
    return Plan(candidate.thresholds, candidate.temperatures, candidate.score, candidate.combine)
