"""What Prometheus would tell an autoscaler: device time and queue delay, as rates over a window.

As with `rate(...[1m])`, a pod that is younger than the window counts with what it did in the whole
window. Only ready pods are scraped.
"""

from collections import deque
from collections.abc import Sequence

from simulation.pod import Pod

_Counters = tuple[float, float, int]  # busy seconds, queued seconds, answered requests
_NEW: _Counters = (0.0, 0.0, 0)


class Signals:
    """Reads the counters of pods at every call of `read`, and remembers them for the window."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._samples: deque[tuple[float, dict[int, _Counters]]] = deque([(0.0, {})])

    def read(self, now_s: float, pods: Sequence[Pod]) -> tuple[float, float]:
        """Return two sums over these pods: device seconds a second, and the mean seconds that a
        pod's answered requests waited in queues. `now_s` is greater than at the last call.
        """
        samples = self._samples
        while len(samples) > 1 and samples[1][0] <= now_s - self._window_s:
            samples.popleft()
        began_s, before = samples[0]
        busy = delay_s = 0.0
        counters: dict[int, _Counters] = {}
        for pod in pods:
            busy_s, queue_s, answered = before.get(pod.number, _NEW)
            busy += (pod.busy_s - busy_s) / (now_s - began_s)
            if pod.answered > answered:
                delay_s += (pod.queue_s - queue_s) / (pod.answered - answered)
            counters[pod.number] = (pod.busy_s, pod.queue_s, pod.answered)
        samples.append((now_s, counters))
        return busy, delay_s
