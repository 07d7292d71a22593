"""The discrete-event simulation: requests, batches, pods and the autoscaler on one simulated clock.

Deterministic: what happens at one instant happens in the order in which it was planned. It models
no errors, no retries and no limits of queues; every request is answered.
"""

import heapq
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Literal

import numpy as np

from simulation.autoscaling import Autoscaler, Metric, ScalingRules
from simulation.balancing import BALANCERS
from simulation.pod import Pod
from simulation.signals import Signals
from simulation.trace import Floats
from simulation.workload import Workload

BalancerName = Literal["least-outstanding", "round-robin"]


@dataclass(frozen=True, slots=True)
class FleetPlan:
    """How pods start, end, and are balanced and scaled."""

    rules: ScalingRules = field(default_factory=ScalingRules)
    replicas: int = 2  # at the start, ready
    balancer: BalancerName = "least-outstanding"
    start_s: float = 10.0  # from the creation of a pod until it is ready
    drain_s: float = 5.0  # a pod that goes lives at least so long, and until all is answered
    target_busy: float = 0.7  # device seconds a second, for each pod
    target_delay_s: float = 0.02  # mean wait in queues, for each pod
    metric_window_s: float = 60.0
    overhead_s: float = 0.0  # of a pod's event loop, for each request


@dataclass(frozen=True, slots=True)
class Run:
    """What happened. `batch_s` and `batch_at_s` belong together: one value a batch."""

    arrival_s: Floats  # [N]
    latency_s: Floats  # [N]
    batch_at_s: Floats  # [B] when a batch began
    batch_s: Floats  # [B] how long it ran
    batch_rows: Floats  # [B]
    pods: list[Pod]  # in order of creation
    end_s: float
    decisions: list[tuple[float, int]]  # when the autoscaler changed the replicas, and to how many


class Simulator:
    """One run over a workload; use it once."""

    def __init__(self, workload: Workload, plan: FleetPlan) -> None:
        self._workload, self._plan = workload, plan
        self._arrival_s: list[float] = workload.arrival_s.tolist()
        self._answered_s = [0.0] * len(self._arrival_s)
        self._queued_at_s = [0.0] * len(self._arrival_s)
        self._left = len(self._arrival_s)  # requests without an answer
        self._events: list[tuple[float, int, Callable[..., None], tuple[object, ...]]] = []
        self._order = count()
        self._turn = 0
        self._pods: list[Pod] = []
        self._ready: list[Pod] = []
        self._starting: list[Pod] = []
        self._batches = array("d")  # when, how long, how many rows; three values a batch
        self._decisions: list[tuple[float, int]] = []
        self._balance = BALANCERS[plan.balancer]
        self._autoscaler = Autoscaler(plan.rules)
        self._signals = Signals(plan.metric_window_s)

    def run(self) -> Run:
        """Run until every request is answered and every drained pod has ended."""
        for _ in range(self._plan.replicas):
            self._make_ready(0.0, self._create(0.0))
        if self._plan.rules.kind != "none":
            self._plan_event(self._plan.rules.polling_s, self._poll)
        end_s = self._run_events()
        batches = np.array(self._batches).reshape(-1, 3)
        arrival_s = self._workload.arrival_s
        return Run(
            arrival_s,
            np.array(self._answered_s) - arrival_s + self._workload.network_s,
            batches[:, 0],
            batches[:, 1],
            batches[:, 2],
            self._pods,
            end_s,
            self._decisions,
        )

    def _run_events(self) -> float:
        """Return when the last answer was given."""
        events, arrivals = self._events, self._arrival_s
        following, total, now_s = 0, len(arrivals), 0.0
        while self._left:
            if following < total and (not events or arrivals[following] <= events[0][0]):
                now_s = arrivals[following]
                self._arrive(now_s, following)
                following += 1
            else:
                now_s, _, happen, given = heapq.heappop(events)
                happen(now_s, *given)
        for pod in self._pods:  # drains that outlast the last answer
            if pod.draining_since_s is not None and pod.ended_s is None:
                pod.ended_s = max(now_s, pod.draining_since_s + self._plan.drain_s)
        return now_s

    def _plan_event(self, at_s: float, happen: Callable[..., None], *given: object) -> None:
        heapq.heappush(self._events, (at_s, next(self._order), happen, given))

    # Requests ---------------------------------------------------------------------------------

    def _arrive(self, now_s: float, row: int) -> None:
        pod = self._balance(self._ready, self._turn)
        self._turn += 1
        pod.accept(self._turn)
        overhead_s = self._plan.overhead_s
        if overhead_s:
            pod.loop_free_s = max(now_s, pod.loop_free_s) + overhead_s
            self._plan_event(pod.loop_free_s, self._admit, pod, row)
        else:
            self._admit(now_s, pod, row)

    def _admit(self, now_s: float, pod: Pod, row: int) -> None:
        first = self._workload.first_lane[row]
        if self._workload.last_lane[row] < first:
            self._answer(now_s, pod, row)
            self._end_if_drained(now_s, pod)
            return
        pod.enqueue(row, first, now_s)
        if not pod.running:
            self._begin(now_s, pod)

    def _begin(self, now_s: float, pod: Pod) -> None:
        lane, rows = pod.take_batch(now_s)
        run_s = pod.lanes[lane].batch_s[len(rows)]
        self._batches.extend((now_s, run_s, len(rows)))
        self._plan_event(now_s + run_s, self._finish, pod, lane, rows, run_s)

    def _finish(self, now_s: float, pod: Pod, lane: int, rows: list[int], run_s: float) -> None:
        pod.running = False
        pod.busy_s += run_s
        last_lane = self._workload.last_lane
        for row in rows:
            if last_lane[row] > lane:
                pod.enqueue(row, lane + 1, now_s)
            else:
                self._answer(now_s, pod, row)
        if pod.waiting:
            self._begin(now_s, pod)
        self._end_if_drained(now_s, pod)

    def _answer(self, now_s: float, pod: Pod, row: int) -> None:
        self._answered_s[row] = now_s
        self._left -= 1
        pod.answer()

    # Pods -------------------------------------------------------------------------------------

    def _create(self, now_s: float) -> Pod:
        pod = Pod(len(self._pods), self._workload.lanes, self._queued_at_s, now_s)
        self._pods.append(pod)
        self._starting.append(pod)
        return pod

    def _make_ready(self, now_s: float, pod: Pod) -> None:
        if pod.ended_s is None:  # else it was removed while it started
            pod.ready_s = now_s
            self._starting.remove(pod)
            self._ready.append(pod)

    def _poll(self, now_s: float) -> None:
        """Let the autoscaler decide, as at each of its intervals."""
        plan = self._plan
        busy, delay_s = self._signals.read(now_s, self._ready)
        metrics = (Metric(busy, plan.target_busy), Metric(delay_s, plan.target_delay_s))
        replicas = len(self._ready) + len(self._starting)
        wanted = self._autoscaler.decide(now_s, metrics, len(self._ready), len(self._starting))
        for _ in range(wanted - replicas):
            self._plan_event(now_s + plan.start_s, self._make_ready, self._create(now_s))
        for _ in range(replicas - wanted):
            self._remove(now_s)
        if wanted != replicas:
            self._decisions.append((now_s, wanted))
        self._plan_event(now_s + plan.rules.polling_s, self._poll)

    def _remove(self, now_s: float) -> None:
        """Remove the youngest pod, one that is still starting if there is one."""
        if self._starting:
            self._starting.pop().ended_s = now_s
            return
        pod = self._ready.pop()
        pod.draining_since_s = now_s
        self._plan_event(now_s + self._plan.drain_s, self._end_if_drained, pod)

    def _end_if_drained(self, now_s: float, pod: Pod) -> None:
        since_s = pod.draining_since_s
        if since_s is None or pod.ended_s is not None or pod.outstanding:
            return
        if now_s >= since_s + self._plan.drain_s:
            pod.ended_s = now_s


def simulate(workload: Workload, plan: FleetPlan) -> Run:
    """Run the workload on a fleet and return what happened."""
    return Simulator(workload, plan).run()
